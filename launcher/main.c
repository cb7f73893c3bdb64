/* mutransfer VERB ...: find the verb, parse its line, run it, print its error.
 * The exit code is the status (enum mup_status). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launcher/verbs.h"

static int unknown_verb(const char *name)
{
    const struct verb *best = NULL;
    int distance = 4;

    for (int i = 0; verbs[i]; i++) {
        int d = edit_distance(name, verbs[i]->name);

        if (d < distance && d < (int)strlen(name) &&
            !(verbs[i]->flags & VERB_HIDDEN)) {
            distance = d;
            best = verbs[i];
        }
    }
    if (best)
        fprintf(stderr, "mutransfer: unknown verb '%s'; did you mean '%s'?\n",
                name, best->name);
    else
        fprintf(stderr,
                "mutransfer: unknown verb '%s'; 'mutransfer help' lists "
                "them\n",
                name);
    return MUP_USAGE;
}

static int run_verb(const struct verb *verb, const char *program, int argc,
                    char **argv)
{
    struct mup_error err = { 0 };
    struct args args = { 0 };
    int rc = args_parse(verb, argc, argv, &args, &err);

    if (rc == MUP_OK) {
        args.program = program;
        if (args.help)
            verb_usage(verb, stdout);
        else
            rc = verb->run(&args, &err);
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && rc == MUP_OK)
        rc = mup_fail(&err, MUP_SYSTEM, "cannot write to standard output: %s",
                      strerror(errno));
    if (rc != MUP_OK && err.text[0])
        fprintf(stderr, "mutransfer %s: %s\n", verb->name, err.text);
    args_clear(&args);
    return rc;
}

/* The path of this binary, for starting workers.  /proc is Linux; argv[0]
 * serves elsewhere. */
static const char *own_path(const char *argv0, char *buffer, size_t bytes)
{
    ssize_t n = readlink("/proc/self/exe", buffer, bytes - 1);

    if (n <= 0)
        return argv0;
    buffer[n] = 0;
    return buffer;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    const struct verb *verb;
    char path[4096];

    if (!strcmp(name, "-h") || !strcmp(name, "--help"))
        name = "help";
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        printf("mutransfer %s\n", MUTRANSFER_VERSION);
        return MUP_OK;
    }
    verb = verb_find(name);
    if (!verb)
        return unknown_verb(name);
    return run_verb(verb, own_path(argv[0], path, sizeof(path)),
                    argc > 2 ? argc - 2 : 0, argv + 2);
}
