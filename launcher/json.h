/* Answers for programs. */
#ifndef LAUNCHER_JSON_H
#define LAUNCHER_JSON_H

#include <jansson.h>

#include "mup/mup.h"

/* Print one object on stdout and release it.  MUP_SYSTEM if it is NULL or
 * cannot be written. */
int json_print(json_t *object, struct mup_error *err);

/* A real, or null where x is not finite: JSON has no NaN. */
json_t *json_number(double x);

#endif
