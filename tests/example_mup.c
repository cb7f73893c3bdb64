#include <stdio.h>

#include "mup/mup.h"

int main(void)
{
    struct mup_rules rules = { .parametrization = MUP_MUP };
    struct mup_shape shapes[] = {
        { "embedding", MUP_INPUT, { 1024, 128 }, { 32000, 0 } },
        { "mlp.up", MUP_HIDDEN, { 4096, 512 }, { 1024, 128 } },
        { "unembedding", MUP_OUTPUT, { 32000, 0 }, { 1024, 128 } },
    };
    struct mup_error err;
    struct mup_scale s;

    for (int i = 0; i < 3; i++) {
        if (mup_scale(&rules, &shapes[i], &s, &err) != MUP_OK)
            return fprintf(stderr, "%s\n", err.text), err.status;
        printf("%-12s std x %.3g  output x %.3g  lr x %.3g\n", shapes[i].name,
               s.init_std, s.forward, s.lr);
    }
    return 0;
}
