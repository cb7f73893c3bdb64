/* gnuplot as a process: no shell, no user text outside single quotes, no
 * start-up files. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plots/render.h"

extern char **environ;

/* A pipe holds this much before anyone reads (Linux: 64 KiB). */
#define MAX_SCRIPT 60000

/* text for single quotes, where gnuplot executes nothing and knows no escape
 * but the doubled quote (which must not come first). */
static int quote(const char *text, char *out, size_t bytes)
{
    size_t n = 0;

    for (const char *p = text; *p; p++) {
        if (n + 4 > bytes || *p == '\n' || *p == '\r')
            return -1;
        if (*p == '\'')
            out[n++] = '\'';
        out[n++] = *p;
    }
    out[n] = '\0';
    return 0;
}

/* in, out, log become the child's stdin, stdout and stderr. */
static int spawn(char *const argv[], int in, int out, int log, pid_t *pid)
{
    const int from[3] = { in, out, log };
    posix_spawn_file_actions_t actions;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc != 0)
        return rc;
    for (int fd = 0; fd < 3 && rc == 0; fd++)
        rc = from[fd] >= 0
                 ? posix_spawn_file_actions_adddup2(&actions, from[fd], fd)
                 : posix_spawn_file_actions_addopen(&actions, fd, "/dev/null",
                                                    O_RDWR, 0);
    if (rc == 0)
        rc = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* 0, or the exit status; 127: could not start (as a shell would say). */
static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The line of gnuplot's log that says what is wrong: the last one that is not
 * blank and not a mere marker.  Returns 1 if data are missing, for which
 * gnuplot has a warning only. */
static int complaint(FILE *log, char *out, size_t bytes)
{
    char line[256];

    snprintf(out, bytes, "no message");
    if (!log)
        return 0;
    rewind(log);
    while (fgets(line, sizeof(line), log)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[strspn(line, " ^")])
            snprintf(out, bytes, "%s", line + strspn(line, " "));
        if (strstr(line, "annot find or open file"))
            return 1;
    }
    return 0;
}

static int failed_to_start(int rc, struct mup_error *err)
{
    if (rc == ENOENT)
        return mup_fail(err, MUP_SYSTEM,
                        "gnuplot is not installed, so there are no pictures; "
                        "install it with 'apt-get install gnuplot-nox'");
    return mup_fail(err, MUP_SYSTEM, "cannot start gnuplot: %s", strerror(rc));
}

/* "cd 'dir/plots'" and more for gnuplot -e. */
static int prologue(const char *dir, const char *more, char *out, size_t bytes,
                    struct mup_error *err)
{
    char quoted[2048];

    if (quote(dir, quoted, sizeof(quoted)) ||
        snprintf(out, bytes, "cd '%s%s/plots'%s", *dir == '/' ? "" : "./",
                 quoted, more) >= (int)bytes)
        return mup_fail(err, MUP_USAGE,
                        "the folder name '%s' is too long or has a line break, "
                        "pictures need a simpler one",
                        dir);
    return MUP_OK;
}

int gnuplot_draw(const char *dir, const char *script, const char *file,
                 const char *terminal, struct mup_error *err)
{
    char more[256], first[4096], temporary[2048], final[2048], why[256];
    char *argv[] = { (char[]){ "gnuplot" },
                     (char[]){ "-d" },
                     (char[]){ "-e" },
                     first,
                     NULL,
                     NULL };
    char name[256];
    struct stat st;
    FILE *log;
    pid_t pid;
    int rc;

    snprintf(name, sizeof(name), "%s", script);
    argv[4] = name;
    snprintf(more, sizeof(more), "; term = '%s'; out = '.%s.%ld'", terminal,
             file, (long)getpid());
    rc = prologue(dir, more, first, sizeof(first), err);
    if (rc != MUP_OK)
        return rc;
    snprintf(temporary, sizeof(temporary), "%s/plots/.%s.%ld", dir, file,
             (long)getpid());
    snprintf(final, sizeof(final), "%s/plots/%s", dir, file);
    log = tmpfile();
    rc = spawn(argv, -1, -1, log ? fileno(log) : -1, &pid);
    if (rc != 0)
        rc = failed_to_start(rc, err);
    else if ((rc = wait_for(pid)) == 127)
        rc = failed_to_start(ENOENT, err);
    else if (complaint(log, why, sizeof(why)) || rc != 0 ||
             stat(temporary, &st) != 0 || st.st_size == 0) {
        rc = mup_fail(err, MUP_SYSTEM,
                      "gnuplot could not draw '%s/plots/%s': "
                      "%s",
                      dir, script, why);
    } else if (rename(temporary, final) != 0)
        rc = mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", final,
                      strerror(errno));
    if (rc != MUP_OK)
        (void)unlink(temporary); /* may not be there */
    if (log)
        (void)fclose(log); /* a temporary */
    return rc;
}

static int make_pipe(int fd[2])
{
    if (pipe(fd) != 0)
        return -1;
    (void)fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

static char *read_all(int fd)
{
    size_t used = 0, room = 8192;
    char *text = malloc(room + 1);
    ssize_t n = 0;

    while (text) {
        n = read(fd, text + used, room - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
        if (used == room) {
            char *more = realloc(text, 2 * room + 1);

            if (!more) {
                free(text);
                return NULL;
            }
            text = more;
            room *= 2;
        }
    }
    if (text)
        text[used] = '\0';
    return text;
}

int gnuplot_print(const char *dir, const char *script, char **text,
                  struct mup_error *err)
{
    char first[4096], why[256];
    char *argv[] = { (char[]){ "gnuplot" }, (char[]){ "-d" },
                     (char[]){ "-e" },      first,
                     (char[]){ "-" },       NULL };
    size_t bytes = strlen(script);
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, missing, rc;
    char *got = NULL;
    FILE *log = tmpfile();
    pid_t pid;

    rc = prologue(dir, "", first, sizeof(first), err);
    if (rc == MUP_OK && (bytes > MAX_SCRIPT || make_pipe(in) || make_pipe(out)))
        rc = mup_fail(err, MUP_SYSTEM, "cannot pass the script to gnuplot");
    /* Fits the pipe, so this does not wait for a reader. */
    if (rc == MUP_OK && write(in[1], script, bytes) != (ssize_t)bytes)
        rc = mup_fail(err, MUP_SYSTEM, "cannot pass the script to gnuplot: %s",
                      strerror(errno));
    if (rc == MUP_OK) {
        close(in[1]);
        in[1] = -1;
        rc = spawn(argv, in[0], out[1], log ? fileno(log) : -1, &pid);
        close(out[1]);
        out[1] = -1;
        if (rc != 0) {
            rc = failed_to_start(rc, err);
        } else {
            got = read_all(out[0]);
            rc = wait_for(pid);
            missing = complaint(log, why, sizeof(why));
            if (rc == 127)
                rc = failed_to_start(ENOENT, err);
            else if (rc != 0 || missing || !got || !got[0])
                rc = mup_fail(err, MUP_SYSTEM, "gnuplot could not draw: %s",
                              why);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    if (log)
        (void)fclose(log); /* a temporary */
    if (rc == MUP_OK)
        *text = got;
    else
        free(got);
    return rc;
}
