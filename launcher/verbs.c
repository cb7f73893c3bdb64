#include "launcher/verbs.h"

#include <string.h>

const struct verb *const verbs[] = {
    &verb_doctor,    &verb_data,        &verb_plan,     &verb_train,
    &verb_sweep,     &verb_coord_check, &verb_report,   &verb_lint,
    &verb_transfer,  &verb_launch,      &verb_status,   &verb_cancel,
    &verb_preflight, &verb_show,        &verb_rules,    &verb_plot,
    &verb_help,      &verb_worker,      &verb_agent,    &verb_supervise,
    &verb_drive,     &verb_door,        &verb_sentinel, NULL,
};

const struct option common_options[] = {
    { "help", 'h', NULL, "show this text" },
    { "verbose", 'v', NULL, "say more on stderr" },
    { "quiet", 'q', NULL, "no progress on stderr" },
    { 0 },
};

const struct verb *verb_find(const char *name)
{
    for (int i = 0; verbs[i]; i++)
        if (!strcmp(verbs[i]->name, name))
            return verbs[i];
    return NULL;
}

static void print_option(const struct option *o, FILE *out)
{
    const char *value = o->value ? o->value : "";
    const char *blank = *value && *value != '[' ? " " : "";
    char left[64];

    if (o->letter)
        snprintf(left, sizeof(left), "-%c, --%s%s%s", o->letter, o->name, blank,
                 value);
    else
        snprintf(left, sizeof(left), "    --%s%s%s", o->name, blank, value);
    fprintf(out, "  %-24s %s\n", left, o->help);
}

void verb_usage(const struct verb *verb, FILE *out)
{
    fprintf(out, "usage: mutransfer %s%s%s [options]%s\n\n", verb->name,
            *verb->operands ? " " : "", verb->operands,
            verb->flags & VERB_CONFIG ? " [--section.key=value ...]" : "");
    fprintf(out, "%s\n\n", verb->detail);
    for (const struct option *o = verb->options; o && o->name; o++)
        print_option(o, out);
    for (const struct option *o = common_options; o->name; o++)
        print_option(o, out);
    if (verb->flags & VERB_CONFIG)
        print_option(&(struct option){ "section.key=value", 0, NULL,
                                       "set a config key; 'mutransfer help "
                                       "config' lists them" },
                     out);
    if (verb->example)
        fprintf(out, "\nexample:\n  %s\n", verb->example);
}
