/* Where a process waits, as the kernel and, if there is one, a debugger say. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/agent.h"
#include "model/file.h"

#define MAX_THREADS 64
#define FRAMES      4

void agent_stack_path(const char *dir, const char *node, pid_t pid, char *out,
                      size_t bytes)
{
    snprintf(out, bytes, "%.900s/stacks/%.64s-%ld.txt", dir, node, (long)pid);
}

/* A small file of /proc, without its last newline; "" where it may not be
 * read. */
static void read_small(const char *path, char *out, size_t bytes)
{
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(out, 1, bytes - 1, f) : 0;

    if (f)
        (void)fclose(f); /* only read from */
    while (n > 0 && out[n - 1] == '\n')
        n--;
    out[n] = '\0';
}

/* "T (stopped)" from the line "State:" of /proc/.../status. */
static void read_state(const char *where, char *out, size_t bytes)
{
    char path[120], text[4096];
    const char *at;

    snprintf(path, sizeof(path), "%.80s/status", where);
    read_small(path, text, sizeof(text));
    at = strstr(text, "\nState:");
    at = at ? at + 7 + strspn(at + 7, " \t") : "";
    snprintf(out, bytes, "%.*s", (int)strcspn(at, "\n"), at);
}

/* The function of the kernel in which it waits, "" if in none or not known. */
static void read_wait(const char *where, char *out, size_t bytes)
{
    char path[120];

    snprintf(path, sizeof(path), "%.80s/wchan", where);
    read_small(path, out, bytes);
    if (!strcmp(out, "0"))
        out[0] = '\0';
}

static void write_thread(FILE *out, const char *where)
{
    static const char *const files[] = { "comm", "syscall", "stack" };
    char path[120], text[4096];

    read_state(where, text, sizeof(text));
    fprintf(out, "%s\nstate %s\n", where, text);
    read_wait(where, text, sizeof(text));
    fprintf(out, "wchan %s\n", text);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%.80s/%s", where, files[i]);
        read_small(path, text, sizeof(text));
        if (*text)
            fprintf(out, "%s %s\n", files[i], text);
    }
    fprintf(out, "\n");
}

static void write_threads(FILE *out, pid_t pid)
{
    char path[80], where[80];
    struct dirent *e;
    int n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    d = opendir(path);
    while (d && n < MAX_THREADS && (e = readdir(d)) != NULL) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        snprintf(where, sizeof(where), "/proc/%ld/task/%.16s", (long)pid,
                 e->d_name);
        write_thread(out, where);
        n++;
    }
    if (d)
        (void)closedir(d);
}

int agent_stack(const char *dir, const char *node, pid_t pid, char *out,
                size_t bytes, struct mup_error *err)
{
    char path[1100], where[64], state[64], wait[64];
    struct file_replace f;
    struct stat s;
    int rc;

    snprintf(where, sizeof(where), "/proc/%ld", (long)pid);
    if (pid <= 1 || stat(where, &s) != 0 || s.st_uid != geteuid())
        return mup_fail(err, MUP_USAGE, "there is no such process here");
    read_state(where, state, sizeof(state));
    read_wait(where, wait, sizeof(wait));
    snprintf(out, bytes, "state %s%s%s", *state ? state : "not known",
             *wait ? ", in " : "", wait);
    snprintf(path, sizeof(path), "%.900s/stacks", dir);
    rc = file_make_dirs(path, err);
    if (rc != MUP_OK)
        return rc;
    agent_stack_path(dir, node, pid, path, sizeof(path));
    rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    write_threads(f.out, pid);
    return file_replace_commit(&f, err);
}

/* "#0  0x00007f in nanosleep () from ..." or "#0  main (argc=1) at x.c:3", of
 * the last thread in the text, which is the first one of the process; eu-stack
 * writes "#0  0x7f nanosleep". */
void agent_stack_frames(const char *text, char *out, size_t bytes)
{
    const char *at = NULL;
    size_t used = 0;

    out[0] = '\0';
    for (const char *next = text; (next = strstr(next, "#0 ")) != NULL; next++)
        at = next;
    for (int n = 0; at && *at == '#' && n < FRAMES; n++) {
        const char *name = at + strcspn(at, " \n");
        size_t length;

        name += strspn(name, " ");
        if (!strncmp(name, "0x", 2)) {
            name += strcspn(name, " \n");
            name += strspn(name, " ");
        }
        if (!strncmp(name, "in ", 3))
            name += 3;
        length = strcspn(name, " (\n");
        if (length > 48)
            length = 48;
        if (used + length + 4 < bytes && length)
            used += (size_t)snprintf(out + used, bytes - used, "%s%.*s",
                                     used ? " < " : "", (int)length, name);
        at = strchr(at, '\n');
        at += at != NULL;
    }
}
