#include "sweep/sampler.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "model/random.h"

/* More configurations than any study holds; keeps products from overflowing. */
#define SAMPLER_MANY ((int64_t)1 << 40)

/* A grid has only lists of values: space_open makes them of ranges. */
static int64_t grid_size(const struct space *space)
{
    int64_t size = 1;

    for (int i = 0; i < space->n_parameters; i++) {
        int64_t n = space->parameter[i].n_values;

        if (size > SAMPLER_MANY / n)
            return SAMPLER_MANY;
        size *= n;
    }
    return size;
}

/* Point i of the grid, the last parameter fastest. */
static void grid_point(const struct space *space, int64_t i,
                       struct space_point *out)
{
    for (int p = space->n_parameters - 1; p >= 0; p--) {
        int64_t n = space->parameter[p].n_values;

        memcpy(out->value[p], space->parameter[p].values[i % n],
               SPACE_TEXT_BYTES);
        i /= n;
    }
}

/* The place of an enqueued point in the grid, or -1. */
static int64_t grid_find(const struct space *space, int enqueued)
{
    int64_t place = 0;

    for (int p = 0; p < space->n_parameters; p++) {
        const struct space_parameter *q = &space->parameter[p];
        int64_t n = q->n_values, i = 0;

        while (i < n && strcmp(q->values[i], space->enqueued[enqueued][p]))
            i++;
        if (i == n)
            return -1;
        place = place * n + i;
    }
    return place;
}

/* Grid points that were enqueued are not proposed again.  Counting them: how
 * many different ones lie at or before place. */
static int64_t enqueued_until(const struct space *space, int64_t place)
{
    int64_t n = 0;

    for (int e = 0; e < space->n_enqueued; e++) {
        int64_t at = grid_find(space, e);

        n += at >= 0 && at <= place;
    }
    return n;
}

static int propose_grid(const struct space *space, int64_t index,
                        const struct sampler_trial *finished,
                        int64_t n_finished, struct space_point *out)
{
    int64_t place = index, skipped = 0;

    (void)finished;
    (void)n_finished;
    for (;;) {
        int64_t now = enqueued_until(space, place);

        if (now == skipped)
            break;
        skipped = now;
        place = index + skipped;
    }
    if (place >= grid_size(space))
        return 0;
    grid_point(space, place, out);
    return 1;
}

/* The value of a parameter at u in [0,1). */
static void value_at(const struct space_parameter *p, double u,
                     char text[SPACE_TEXT_BYTES])
{
    double value;

    if (p->distribution == SPACE_VALUES) {
        int64_t i = (int64_t)(u * p->n_values);

        memcpy(text, p->values[i], SPACE_TEXT_BYTES);
        return;
    }
    if (p->distribution == SPACE_LOG_UNIFORM)
        value = p->min * exp2(u * log2(p->max / p->min));
    else if (p->distribution == SPACE_INT_UNIFORM)
        value = p->min + floor(u * (p->max - p->min + 1));
    else
        value = p->min + u * (p->max - p->min);
    space_number_text(p, value, text);
}

static int propose_random(const struct space *space, int64_t index,
                          const struct sampler_trial *finished,
                          int64_t n_finished, struct space_point *out)
{
    struct random_key key =
        random_key((uint64_t)space->sweep.seed, "sample", "random");

    (void)finished;
    (void)n_finished;
    for (int p = 0; p < space->n_parameters; p++) {
        uint64_t at = (uint64_t)index * SPACE_MAX_PARAMETERS + (uint64_t)p;

        value_at(&space->parameter[p], random_uniform(&key, at), out->value[p]);
    }
    return 1;
}

static int propose_sobol(const struct space *space, int64_t index,
                         const struct sampler_trial *finished,
                         int64_t n_finished, struct space_point *out)
{
    (void)finished;
    (void)n_finished;
    for (int p = 0; p < space->n_parameters; p++)
        value_at(&space->parameter[p],
                 sobol_point((uint64_t)space->sweep.seed, index, p),
                 out->value[p]);
    return 1;
}

static const struct sampler samplers[] = {
    [SPACE_GRID] = { "grid", propose_grid },
    [SPACE_RANDOM] = { "random", propose_random },
    [SPACE_SOBOL] = { "sobol", propose_sobol },
};

const struct sampler *sampler_get(int method)
{
    assert(method >= 0 &&
           method < (int)(sizeof(samplers) / sizeof(samplers[0])));
    return &samplers[method];
}

int64_t sampler_count(const struct space *space)
{
    int64_t cap = space->sweep.run_cap, n = cap;

    if (space->sweep.method == SPACE_GRID) {
        int64_t size = grid_size(space);

        n = size - enqueued_until(space, size) + space->n_enqueued;
        if (cap && cap < n)
            n = cap;
    }
    return n;
}

int sampler_propose(const struct space *space, int64_t index,
                    const struct sampler_trial *finished, int64_t n_finished,
                    struct space_point *out)
{
    struct space_point point;
    int found = 1;

    assert(index >= 0);
    memset(&point, 0, sizeof(point));
    if (index >= sampler_count(space))
        return 0;
    if (index < space->n_enqueued)
        memcpy(point.value, space->enqueued[index], sizeof(point.value));
    else
        found = sampler_get(space->sweep.method)
                    ->propose(space, index - space->n_enqueued, finished,
                              n_finished, &point);
    if (found)
        *out = point;
    return found;
}
