/* Seen by the static analysers alone (make lint): they look at one file at a
 * time and would think that mup_fail and yaml_fail may return 0. */
#ifndef TESTS_ANALYZER_H
#define TESTS_ANALYZER_H

#include "configs/yaml.h"
#include "mup/mup.h"

#define mup_fail(err, status, ...)                                             \
    (mup_fail((err), (status), __VA_ARGS__), (status))
#define yaml_fail(doc, node, err, ...)                                         \
    (yaml_fail((doc), (node), (err), __VA_ARGS__), MUP_USAGE)

#endif
