#include "model/checkpoint_policy.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* `auto` knows no cost before the first checkpoint: it is made after this
 * time, so that there is something to measure. */
#define FIRST_AUTO_S 60.0

/* "12 steps": the number, and what comes after it without blanks.  0 where
 * the text is not of that form. */
static int split_number(const char *text, char *number, size_t bytes,
                        const char **unit)
{
    size_t n = strcspn(text, " ");

    if (n == 0 || n >= bytes)
        return 0;
    memcpy(number, text, n);
    number[n] = '\0';
    *unit = text + n + strspn(text + n, " ");
    return 1;
}

static int one_of(const char *unit, const char *a, const char *b, const char *c)
{
    return !strcmp(unit, a) || !strcmp(unit, b) || !strcmp(unit, c);
}

static int parse_every(const char *text, struct checkpoint_policy *p,
                       struct mup_error *err)
{
    char number[64];
    const char *unit = "";
    double minutes = 0;
    int64_t steps = -1;

    if (!strcmp(text, "auto")) {
        p->automatic = 1;
        return MUP_OK;
    }
    if (split_number(text, number, sizeof(number), &unit)) {
        if (one_of(unit, "", "step", "steps") &&
            parse_int(number, &steps, NULL) == MUP_OK && steps >= 0) {
            p->every_steps = steps;
            return MUP_OK;
        }
        if (one_of(unit, "min", "minute", "minutes") &&
            parse_real(number, &minutes, NULL) == MUP_OK && minutes > 0 &&
            minutes < 1e9) {
            p->every_s = 60 * minutes;
            return MUP_OK;
        }
    }
    return mup_fail(err, MUP_USAGE,
                    "checkpoint.every: '%.60s' is none of: 200 (steps), 10 "
                    "min, auto, 0",
                    text);
}

/* A whole number of at least 1 up to `end` or the end of the text; 0 else. */
static int64_t count_before(const char *text, const char *end)
{
    char number[64];
    size_t n = end ? (size_t)(end - text) : strlen(text);
    int64_t value = 0;

    while (n && text[n - 1] == ' ')
        n--;
    if (n == 0 || n >= sizeof(number))
        return 0;
    memcpy(number, text, n);
    number[n] = '\0';
    return parse_int(number, &value, NULL) == MUP_OK && value > 0 ? value : 0;
}

static int parse_keep(const char *text, struct checkpoint_policy *p,
                      struct mup_error *err)
{
    const char *comma = strchr(text, ','), *every = NULL;
    int ok = !strncmp(text, "last ", 5);

    if (ok)
        p->keep_last = count_before(text + 5, comma);
    if (ok && comma) {
        every = comma + 1 + strspn(comma + 1, " ");
        ok = !strncmp(every, "every ", 6);
        if (ok)
            p->keep_every = count_before(every + 6, NULL);
    }
    if (ok && p->keep_last && (!comma || p->keep_every))
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "checkpoint.keep: '%.60s' is not of the form 'last 2' or "
                    "'last 2, every 1000' (steps); at least the last 1 stays",
                    text);
}

int checkpoint_policy_parse(const struct checkpoint_config *config,
                            struct checkpoint_policy *out,
                            struct mup_error *err)
{
    struct checkpoint_policy p = {
        .quota_bytes = config->quota_gib * 1073741824,
        .mtbf_s = config->mtbf_hours * 3600,
    };
    int rc = parse_every(config->every, &p, err);

    if (!rc)
        rc = parse_keep(config->keep, &p, err);
    if (!rc)
        *out = p;
    return rc;
}

/* Young, "A first order approximation to the optimum checkpoint interval",
 * CACM 17 (1974): sqrt(2 C M).  Daly, "A higher order estimate of the optimum
 * checkpoint interval for restart dumps", FGCS 22 (2006), eq. 37, adds the two
 * next terms, and M where a checkpoint takes longer than 2 M. */
double checkpoint_interval_s(double cost_s, double mtbf_s)
{
    double ratio = cost_s / (2 * mtbf_s);

    if (ratio >= 1)
        return mtbf_s;
    return sqrt(2 * cost_s * mtbf_s) * (1 + sqrt(ratio) / 3 + ratio / 9) -
           cost_s;
}

int checkpoint_due(const struct checkpoint_policy *policy,
                   const struct checkpoint_clock *clock)
{
    if (policy->every_steps)
        return clock->step % policy->every_steps == 0;
    if (policy->every_s > 0)
        return clock->since_s >= policy->every_s;
    if (policy->automatic)
        return clock->since_s >=
               (clock->cost_s > 0
                    ? checkpoint_interval_s(clock->cost_s, policy->mtbf_s)
                    : FIRST_AUTO_S);
    return 0;
}

static int is_newest_trusted(const struct checkpoint_policy *policy,
                             const int64_t *steps, int i)
{
    return steps[i] <= policy->trusted &&
           (i == 0 || steps[i - 1] > policy->trusted);
}

static int stays_for_ever(const struct checkpoint_policy *policy, int64_t step)
{
    return policy->keep_every && step % policy->keep_every == 0;
}

int checkpoint_keeps(const struct checkpoint_policy *policy,
                     const int64_t *steps, int n, int i)
{
    assert(i >= 0 && i < n);
    return i < policy->keep_last || is_newest_trusted(policy, steps, i) ||
           stays_for_ever(policy, steps[i]);
}

int checkpoint_spares(const struct checkpoint_policy *policy,
                      const int64_t *steps, int n)
{
    for (int for_ever = 0; for_ever < 2; for_ever++)
        for (int i = n - 1; i > 0; i--)
            if (!is_newest_trusted(policy, steps, i) &&
                stays_for_ever(policy, steps[i]) == for_ever)
                return i;
    return n > 1 ? 0 : -1;
}
