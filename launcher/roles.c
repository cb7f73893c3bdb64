#include "launcher/roles.h"

#include <stdio.h>
#include <string.h>

int roles_given(const struct run_config *config, const char *key)
{
    size_t i = 0;

    for (const struct section *s = run_schema.sections; s->name; s++) {
        size_t len = strlen(s->name);

        for (const struct field *f = s->fields; f->key; f++, i++)
            if (!strncmp(key, s->name, len) && key[len] == '.' &&
                !strcmp(key + len + 1, f->key))
                return config->set[i] != 0;
    }
    return 0;
}

int roles_toy(const struct run_config *proxy, roles_warn *warn, void *context)
{
    const struct {
        const char *rule, *key;
        int64_t value, floor;
    } floors[] = {
        { "M001", "model.width", proxy->model.width, 256 },
        { "M002", "train.steps", proxy->train.steps, 5000 },
        { "M003", "model.layers", proxy->model.layers, 4 },
        { "M004", "train.batch", proxy->train.batch, 32 },
    };
    int n = 0;

    for (size_t i = 0; i < sizeof(floors) / sizeof(floors[0]); i++) {
        char sentence[200];

        if (floors[i].value >= floors[i].floor)
            continue;
        snprintf(sentence, sizeof(sentence),
                 "%s the proxy's %s is %lld, below %lld: a toy, good for "
                 "learning, not for a decision",
                 floors[i].rule, floors[i].key, (long long)floors[i].value,
                 (long long)floors[i].floor);
        if (warn)
            warn(context, sentence);
        n++;
    }
    return n;
}
