#include "launcher/submit_sweep.h"

#include <stdlib.h>
#include <string.h>

#include "sweep/corpora.h"
#include "sweep/driver.h"
#include "sweep/store.h"
#include "sweep/trial_dir.h"

int submit_sweep_write(const struct submit *s, struct mup_error *err)
{
    struct corpora corpora = { 0 };
    struct store *store = NULL;
    int rc = corpora_open(s->space, &corpora, err);

    if (rc == MUP_OK)
        rc = store_open_corpora(s->dir, s->space, &corpora, &store, err);
    if (rc == MUP_OK)
        rc = trial_dir_study(s->space, s->dir, err);
    store_close(store);
    corpora_clear(&corpora);
    return rc;
}

/* Is it the specification that the study was last run with? */
static int is_unchanged(const struct submit *s)
{
    struct store *store = NULL;
    char *now = NULL, *then = NULL;
    int same = 0;

    if (space_spec(s->space, &now, NULL) == MUP_OK &&
        store_open_readonly(s->dir, &store, NULL) == MUP_OK) {
        then = malloc(strlen(now) + 2);
        same = then &&
               store_property(store, "spec", then, strlen(now) + 2, NULL) ==
                   MUP_OK &&
               !strcmp(now, then);
    }
    store_close(store);
    free(then);
    free(now);
    return same;
}

int submit_sweep_is_whole(const struct submit *s)
{
    struct sweep_progress p;

    return sweep_status(s->dir, &p, NULL) == MUP_OK && p.trials > 0 &&
           p.done + p.diverged == p.trials && is_unchanged(s);
}
