#include "launcher/sweeps.h"

#include "launcher/json.h"
#include "launcher/units.h"

json_t *sweeps_json(const char *dir, const struct sweep_progress *p)
{
    json_t *o = json_object();

    json_object_set_new(o, "dir", json_string(dir));
    json_object_set_new(o, "trials", json_integer(p->trials));
    json_object_set_new(o, "done", json_integer(p->done));
    json_object_set_new(o, "running", json_integer(p->running));
    json_object_set_new(o, "waiting", json_integer(p->waiting));
    json_object_set_new(o, "diverged", json_integer(p->diverged));
    json_object_set_new(o, "failed", json_integer(p->failed));
    json_object_set_new(o, "retried", json_integer(p->retried));
    json_object_set_new(o, "eta_s",
                        p->eta_s < 0 ? json_null() : json_number(p->eta_s));
    json_object_set_new(o, "flops_done", json_number(p->flops_done));
    json_object_set_new(o, "flops_total", json_number(p->flops_total));
    if (p->best_trial > 0) {
        json_object_set_new(o, "best_trial", json_integer(p->best_trial));
        json_object_set_new(o, "best_value", json_number(p->best_value));
        json_object_set_new(o, "best", json_string(p->best_text));
    }
    return o;
}

void sweeps_line(const struct sweep_progress *p, char *out, size_t bytes)
{
    int64_t finished = p->done + p->diverged + p->failed;
    char best[320] = "";

    if (p->best_trial > 0)
        snprintf(best, sizeof(best), "  best %.4f (%s)", p->best_value,
                 p->best_text);
    snprintf(out, bytes, "[%lld/%lld] eta %s  %lld running  %lld diverged%s%s",
             (long long)finished, (long long)p->trials,
             p->eta_s < 0 ? "?" : units_seconds(p->eta_s).text,
             (long long)p->running, (long long)p->diverged,
             p->failed ? "  some failed" : "", best);
}

void sweeps_print(const struct sweep_progress *p, double wall_s, FILE *out)
{
    fprintf(out, "%lld trials: %lld done, %lld diverged, %lld failed",
            (long long)p->trials, (long long)p->done, (long long)p->diverged,
            (long long)p->failed);
    if (p->running || p->waiting)
        fprintf(out, ", %lld running, %lld waiting", (long long)p->running,
                (long long)p->waiting);
    if (p->retried)
        fprintf(out, ", %lld retried", (long long)p->retried);
    if (wall_s >= 0)
        fprintf(out, "; %s", units_seconds(wall_s).text);
    fprintf(out, "\n");
    if (p->best_trial > 0)
        fprintf(out, "best: %.4f in trial %lld (%s)\n", p->best_value,
                (long long)p->best_trial, p->best_text);
}
