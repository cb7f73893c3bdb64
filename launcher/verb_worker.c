#include <signal.h>
#include <string.h>

#include "launcher/verbs.h"
#include "sweep/driver.h"

static int run(const struct args *args, struct mup_error *err)
{
    struct sigaction ignore;

    (void)args;
    (void)err;
    /* Ctrl-C and the end of the terminal reach the whole process group; the
     * driver answers them by closing our stdin, which makes us save first. */
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGINT, &ignore, NULL);
    (void)sigaction(SIGHUP, &ignore, NULL);
    return sweep_worker();
}

const struct verb verb_worker = {
    "worker",
    "",
    0,
    0,
    VERB_HIDDEN,
    "train the jobs that a sweep sends on stdin",
    "Started by 'sweep', one process per core.  Reads jobs from stdin, one "
    "JSON\n"
    "object a line, until it closes.",
    NULL,
    NULL,
    run,
};
