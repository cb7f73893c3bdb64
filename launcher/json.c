#include "launcher/json.h"

#include <math.h>
#include <stdio.h>

int json_print(json_t *object, struct mup_error *err)
{
    int rc = MUP_OK;

    if (!object || json_dumpf(object, stdout, JSON_INDENT(2)) != 0)
        rc = mup_fail(err, MUP_SYSTEM, "cannot print the answer as JSON");
    else
        printf("\n");
    json_decref(object);
    return rc;
}

json_t *json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}
