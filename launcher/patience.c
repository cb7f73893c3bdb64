#include "launcher/patience.h"

#include <poll.h>

#include "launcher/stop.h"
#include "model/clock.h"

#define FIRST_S   1.0
#define LONGEST_S 30.0

void patience_note(struct patience *p, struct terminal *t, int rc,
                   double interval_s, const struct mup_error *err)
{
    if (rc != MUP_DEVICE) {
        if (p->wait_s > 0)
            terminal_note(t, "note: SLURM's controller answers again");
        p->wait_s = 0;
        p->next_s = clock_s() + interval_s;
        return;
    }
    if (p->wait_s <= 0) {
        p->wait_s = FIRST_S;
        terminal_note(t,
                      "note: SLURM's controller does not answer (%s); it is "
                      "asked again until it does, jobs go on meanwhile",
                      err ? err->text : "");
    } else {
        p->wait_s = 2 * p->wait_s < LONGEST_S ? 2 * p->wait_s : LONGEST_S;
    }
    p->next_s = clock_s() + p->wait_s;
}

int patience_again(struct patience *p, struct terminal *t, int rc,
                   const struct mup_error *err)
{
    patience_note(p, t, rc, 0, err);
    while (rc == MUP_DEVICE && !stop_requested(NULL) && clock_s() < p->next_s)
        patience_sleep(0.1);
    return rc == MUP_DEVICE && !stop_requested(NULL);
}

void patience_sleep(double seconds)
{
    (void)poll(NULL, 0, (int)(1000 * seconds));
}
