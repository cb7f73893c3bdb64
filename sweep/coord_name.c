#include "sweep/coord_name.h"

#include <string.h>

#include "configs/tensor_role.h"

#define BLOCKS "blocks."

const char *coord_name_block(const char *name, size_t *bytes)
{
    static const char *const places[] = { "first", "last" };
    const char *at = strstr(name, BLOCKS), *block;
    size_t n;
    int known;

    if (!at || (at > name && at[-1] != '.'))
        return NULL;
    block = at + strlen(BLOCKS);
    n = strcspn(block, ".");
    known = n > 0 && strspn(block, "0123456789") == n;
    for (int i = 0; i < 2; i++)
        known |= n == strlen(places[i]) && !strncmp(block, places[i], n);
    if (!known)
        return NULL;
    *bytes = n;
    return block;
}

const char *coord_name_tail(const char *name)
{
    size_t n;
    const char *block = coord_name_block(name, &n);

    return block && block[n] == '.' ? block + n + 1 : name;
}

int coord_name_in_block(const char *name)
{
    size_t n;

    return coord_name_block(name, &n) != NULL || tensor_role_in_block(name);
}
