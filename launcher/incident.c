#include "launcher/incident.h"

#include <stdio.h>

#include "launcher/launch_log.h"

static const struct {
    const char *key, *what;
} parts[MARKS] = {
    [MARK_DETECTED] = { "detect_s", "to detect" },
    [MARK_FENCED] = { "fence_s", "to fence" },
    [MARK_REPLACED] = { "replace_s", "to replace" },
    [MARK_LAUNCHED] = { "relaunch_s", "to launch" },
    [MARK_JOINED] = { "rendezvous_s", "to meet" },
    [MARK_LOADED] = { "load_s", "to load" },
    [MARK_STEPPED] = { "first_step_s", "to the first step" },
};

void incident_mark(struct incident *i, int mark, double now_s)
{
    if (i->open && i->at[mark] <= 0)
        i->at[mark] = now_s;
}

/* Seconds of each part.  A moment that was missed takes the place of the next
 * one that is known. */
static double split(const struct incident *i, double out[MARKS])
{
    double before = i->at[MARK_BEGAN];

    out[MARK_BEGAN] = 0;
    for (int m = MARK_BEGAN + 1; m < MARKS; m++) {
        double at = i->at[m];

        if (at < before) /* not known, or out of order by a hair */
            at = before;
        out[m] = at - before;
        before = at;
    }
    return before - i->at[MARK_BEGAN];
}

json_t *incident_json(const struct incident *i)
{
    json_t *o = launch_log_new("incident");
    double seconds[MARKS], total = split(i, seconds);
    int64_t replayed = i->last_step - i->from_step;

    if (!o)
        return NULL;
    json_object_set_new(o, "incarnation", json_integer(i->incarnation));
    json_object_set_new(o, "class", json_string(i->class));
    json_object_set_new(o, "planned", json_integer(i->planned));
    json_object_set_new(o, "node", json_string(i->node));
    json_object_set_new(o, "text", json_string(i->text));
    json_object_set_new(o, "began_unix_s", json_real(i->began_unix_s));
    for (int m = MARK_BEGAN + 1; m < MARKS; m++)
        json_object_set_new(o, parts[m].key, json_real(seconds[m]));
    json_object_set_new(o, "total_s", json_real(total));
    json_object_set_new(o, "from_step", json_integer(i->from_step));
    json_object_set_new(o, "replayed_steps",
                        json_integer(replayed > 0 ? replayed : 0));
    return o;
}

void incident_text(const struct incident *i, char *out, size_t bytes)
{
    double seconds[MARKS], total = split(i, seconds);
    int64_t replayed = i->last_step - i->from_step;
    size_t at =
        (size_t)snprintf(out, bytes, "training again after %.2f s (", total);

    for (int m = MARK_BEGAN + 1; m < MARKS && at < bytes; m++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%.2f s %s",
                               m > MARK_BEGAN + 1 ? ", " : "", seconds[m],
                               parts[m].what);
    if (at < bytes)
        (void)snprintf(out + at, bytes - at, "), %lld steps to repeat",
                       (long long)(replayed > 0 ? replayed : 0));
}
