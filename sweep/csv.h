/* Tables of comma-separated values that other programs wrote: a header line
 * names the columns, every further line is a row (RFC 4180).
 *
 *     struct csv t;
 *     int width, seed;
 *     double w;
 *
 *     rc = csv_open("runs.csv", &t, err);
 *     rc = csv_column(&t, "width", 1, &width, err);
 *     rc = csv_column(&t, "seed", 0, &seed, err);       -1 where it is absent
 *     for (int64_t i = 0; i < t.rows; i++)
 *         rc = csv_real(&t, i, width, &w, err);
 *     csv_close(&t);
 *
 * Columns stand in any order and those that nobody asks for are ignored; case
 * does not matter in their names.  Lines end in LF, CRLF or CR.  Cells in
 * quotes hold commas, line breaks and doubled quotes; blanks around a cell do
 * not count.  A UTF-8 byte order mark, empty lines, rows of empty cells and
 * lines that begin with '#' are skipped.
 *
 * Errors of the content are MUP_USAGE and begin with "file:line: ". */
#ifndef SWEEP_CSV_H
#define SWEEP_CSV_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mup/mup.h"

#define CSV_MAX_BYTES   ((size_t)64 << 20)
#define CSV_MAX_COLUMNS 1024
#define CSV_MAX_ROWS    1000000
#define CSV_MAX_CELLS   ((size_t)16 << 20)

/* {0} is empty.  Invariant: every row has as many cells as the header. */
struct csv {
    const char *path; /* borrowed */
    char *text;       /* owned; the cells, unquoted, each ends in NUL */
    int columns;
    int64_t rows;   /* without the header */
    uint32_t *cell; /* (1 + rows, columns) where in text; the header first */
    int64_t *line;  /* (1 + rows) on which a row begins, from 1 */
    char hash[33];  /* XXH3-128 of the file's bytes in hex, for provenance */
};

/* MUP_SYSTEM for a file that cannot be read or is larger than CSV_MAX_BYTES,
 * MUP_USAGE for one that is no table.  A table without rows is one. */
int csv_open(const char *path, struct csv *out, struct mup_error *err);

/* The same from memory; path is the name in sentences. */
int csv_open_text(const char *text, size_t bytes, const char *path,
                  struct csv *out, struct mup_error *err);
void csv_close(struct csv *t);

/* The index of a column.  Where there is none, *out = -1, or, if it is
 * required, MUP_USAGE with the nearest name that the header has. */
int csv_column(const struct csv *t, const char *name, int required, int *out,
               struct mup_error *err);

/* Rows count from 0.  The text lives as long as the table. */
const char *csv_text(const struct csv *t, int64_t row, int column);

/* Line of a row in the file, for sentences. */
int64_t csv_line(const struct csv *t, int64_t row);

/* A cell as a number in any form of parse_real(): 0.001, 1e-3, 2^-10. */
int csv_real(const struct csv *t, int64_t row, int column, double *out,
             struct mup_error *err);

/* The same, and NaN for an empty cell and for nan, inf and infinity in any
 * case and with any sign. */
int csv_real_or_nan(const struct csv *t, int64_t row, int column, double *out,
                    struct mup_error *err);

/* A whole number; 1.0 and 1e3 are whole too. */
int csv_int(const struct csv *t, int64_t row, int column, int64_t *out,
            struct mup_error *err);

/* Write a cell: in quotes where it holds a comma, a quote or a line break, or
 * begins like a comment. */
void csv_put_text(FILE *out, const char *text);

/* Why a name cannot be shown, "" if it can; names go into data files, scripts
 * and onto the terminal. */
const char *csv_bad_name(const char *name);

#endif
