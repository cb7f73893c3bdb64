#include <stdio.h>

#include "launcher/follow.h"
#include "launcher/json.h"
#include "launcher/remote.h"
#include "launcher/stop.h"
#include "launcher/sweeps.h"

/* How the sweep ended: the driver's status and sentence, and its results. */
static int conclude(const struct submit *s, struct mup_error *err)
{
    struct sweep_progress p;
    struct launch_log log;
    int rc = launch_log_read(s->dir, &log, err), known;

    if (rc != MUP_OK)
        return rc;
    known = sweep_status(s->dir, &p, NULL) == MUP_OK;
    if (known && args_given(s->args, "json"))
        rc = json_print(sweeps_json(s->dir, &p), err);
    else if (known)
        sweeps_print(&p, -1, stdout);
    if (known && p.done > 0 && !args_given(s->args, "json"))
        printf("next: mutransfer report %s\n", s->dir);
    if (rc == MUP_OK && log.status != MUP_OK)
        rc = mup_fail(err, log.status, "%s", log.text);
    launch_log_clear(&log);
    return rc;
}

int remote_sweep(const struct args *args, const struct space *space,
                 const char *dir, struct mup_error *err)
{
    struct terminal terminal;
    struct submit s;
    int ended, rc;

    terminal_init(&terminal, args->quiet);
    stop_watch();
    rc = submit_open_sweep(args, space, dir, &terminal, &s, err);
    if (rc != MUP_OK)
        return rc;
    rc = remote_watch(&s, &ended, err);
    if (rc == MUP_OK && ended)
        rc = conclude(&s, err);
    submit_close(&s);
    return rc;
}
