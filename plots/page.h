/* Pieces of report.html.  Every text of the result files goes through
 * page_put_text() or one that calls it. */
#ifndef PLOTS_PAGE_H
#define PLOTS_PAGE_H

#include <jansson.h>
#include <stdio.h>

/* Up to and with the finding, the sentence in large letters. */
void page_begin(FILE *out, const char *title, const char *finding);

void page_put_text(FILE *out, const char *text);
/* The same with 2^-5.8 set as a power. */
void page_put_rich(FILE *out, const char *text);
/* A sentence of the result files: first letter up, full stop. */
void page_put_sentence(FILE *out, const char *text);
/* In the colour of what is good, bad or open. */
void page_put_verdict(FILE *out, const char *verdict);
/* A cell of one number, a double; a dash where it is not finite. */
void page_put_number(FILE *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A row of a name and one number, a double. */
void page_put_pair(FILE *out, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Strings under a heading; nothing for none. */
void page_put_list(FILE *out, const char *title, const json_t *list);
/* Scalars of an object as rows, objects and arrays in it by a dotted name. */
void page_put_facts(FILE *out, const char *prefix, const json_t *value);

/* DIR/plots/KIND.svg, up to its caption; 0, with a note in its place, where
 * there is none. */
int page_begin_picture(FILE *out, const char *dir, int kind);
void page_end_picture(FILE *out, int kind);

/* The page of a run (html_run.c). */
void html_put_run(FILE *out, const char *dir, const json_t *report);

#endif
