#include "launcher/local_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/paths.h"
#include "launcher/units.h"
#include "model/file.h"

int view_open(struct view_state *v, const char *dir, int ranks, int quiet,
              struct mup_error *err)
{
    char path[1100], line[64];
    int rc = path_join(dir, "log", path, sizeof(path), err);

    *v = (struct view_state){ .ranks = ranks, .log = -1 };
    terminal_init(&v->terminal, quiet);
    v->words = calloc((size_t)ranks + 1, sizeof(*v->words));
    if (rc == MUP_OK && !v->words)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for %d ranks", ranks);
    if (rc == MUP_OK)
        rc = file_append_open(path, 1, &v->log, err);
    if (rc != MUP_OK)
        return rc;
    snprintf(line, sizeof(line), "launch: %d ranks start\n", ranks);
    return file_append(v->log, line, strlen(line), err);
}

void view_close(struct view_state *v)
{
    terminal_clear(&v->terminal);
    if (v->log >= 0)
        close(v->log);
    free(v->words);
    *v = (struct view_state){ .log = -1 };
}

/* A full disk must not end the run: its own files decide that. */
static void log_line(struct view_state *v, int rank, const char *text)
{
    char line[1200];
    int n;

    if (rank >= 0)
        n = snprintf(line, sizeof(line), "rank %d: %s\n", rank, text);
    else
        n = snprintf(line, sizeof(line), "%s\n", text);
    if (n >= (int)sizeof(line)) {
        n = (int)sizeof(line) - 1;
        line[n - 1] = '\n';
    }
    (void)file_append(v->log, line, (size_t)n, NULL);
}

static int begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static void remember(struct view_words *w, const char *text)
{
    snprintf(w->line[w->n % VIEW_WORDS], VIEW_WORD_BYTES, "%s", text);
    w->n++;
}

void view_line(struct view_state *v, int rank, const char *text, int is_error)
{
    struct view_words *w = &v->words[rank < 0 ? v->ranks : rank];
    char line[1100];

    if (rank < 0) {
        if (!*text || strspn(text, "-") == strlen(text))
            return;
        snprintf(line, sizeof(line), "mpirun: %s", text);
        log_line(v, -1, line);
        remember(w, text);
        return;
    }
    log_line(v, rank, text);
    if (rank == 0 && !is_error) {
        terminal_clear(&v->terminal);
        printf("%s\n", text);
        fflush(stdout);
    } else if (begins(text, "warning: ") || begins(text, "note: ") ||
               begins(text, "continued ")) {
        terminal_note(&v->terminal, "rank %d: %s", rank, text);
    } else if (is_error) {
        remember(w, text);
    }
}

void view_note(struct view_state *v, const char *text)
{
    char line[600];

    terminal_note(&v->terminal, "%s", text);
    snprintf(line, sizeof(line), "launch: %s", text);
    log_line(v, -1, line);
}

void view_event(struct view_state *v, const struct rank_event *e)
{
    if (e->kind == HEARTBEAT_BYE && e->message.text[0])
        log_line(v, e->rank, e->message.text);
    if (e->kind == HEARTBEAT_PROGRESS && e->rank == 0)
        terminal_progress(&v->terminal, "%s", e->message.text);
}

void view_last_words(struct view_state *v, int rank)
{
    const struct view_words *w = &v->words[rank < 0 ? v->ranks : rank];
    int first = w->n > VIEW_WORDS ? w->n - VIEW_WORDS : 0;
    char who[32] = "mpirun";

    if (w->n == 0)
        return;
    if (rank >= 0)
        snprintf(who, sizeof(who), "rank %d", rank);
    terminal_note(&v->terminal, "last words of %s:", who);
    for (int i = first; i < w->n; i++)
        terminal_note(&v->terminal, "  %s", w->line[i % VIEW_WORDS]);
}
