/* The tensors of somebody else's model: names and shapes from a JSON file,
 * base shapes from it or from microsoft/mup's YAML, and for each tensor the
 * struct mup_shape that mup_scale takes.
 *
 *     [ { "name": "lm_head.weight", "shape": [32000, 1024],
 *         "base_shape": [null, 128] } ]
 *
 * A number in base_shape is the size that the dimension has in the base model;
 * null says that it does not grow with width.  Ranks and layouts:
 *
 *     0  []                                       nothing to scale
 *     1  [n]                                      gain, bias
 *     2  [fan_out, fan_in]                        matrix, as torch.nn.Linear
 *        [V, D], V null                           table: looked up, fan_in V
 *     2  [copies, n]                              stack of gains or biases
 *     3  [copies, fan_out, fan_in]                stack of experts or layers
 *
 * The role is what the file says, else what the name says (tensor_role.h), else
 * what the pattern of nulls says; what is then still open is an error. */
#ifndef CONFIGS_SHAPES_H
#define CONFIGS_SHAPES_H

#include "configs/tensor_role.h"
#include "configs/yaml.h"
#include "mup/mup.h"

#define SHAPES_MAX_RANK  3
#define SHAPES_MAX_BYTES ((size_t)16 << 20) /* of a JSON file */

/* shape.name is name.  dim is what the file says, base 0 for null; shape what
 * the role makes of it.  experts: the number of experts, where a dimension of
 * the tensor has it and it grows; else base 0. */
struct tensor {
    char *name;
    int rank;
    struct mup_dim dim[SHAPES_MAX_RANK];
    struct mup_dim experts;
    struct mup_shape shape;
};

struct shapes {
    int n;
    struct tensor *list;
};

/* path is used in messages.  base and patterns may be NULL. */
struct shapes_source {
    const char *path;
    const char *text;
    size_t bytes;
    const struct yaml_doc *base; /* of tensors without "base_shape" */
    const struct role_patterns *patterns;
};

/* MUP_USAGE, with the tensor's name, for whatever has no meaning.  Close with
 * shapes_close. */
int shapes_open(const struct shapes_source *source, struct shapes *out,
                struct mup_error *err);
void shapes_close(struct shapes *shapes);

/* Whether the rules fit the tensors as a whole: a number of experts that the
 * rules do not know of, a depth rule without a tensor in a block. */
int shapes_check_rules(const struct shapes *shapes,
                       const struct mup_rules *rules, struct mup_error *err);

/* As microsoft/mup's width_mult: size / base of the last dimension that grows,
 * 1 if there is none. */
double shapes_width_mult(const struct tensor *tensor);

/* A gain or a bias, which starts at a constant. */
int shapes_is_constant(const struct tensor *tensor);

/* Whether any dimension grows: microsoft/mup takes a dimension that is equal
 * in its base and delta models as finite, in silence. */
int shapes_any_grows(const struct shapes *shapes);

/* The first table of a model without a readout: torch names a tied table once,
 * as the embedding.  NULL if there is a readout or no table. */
const struct tensor *shapes_maybe_tied(const struct shapes *shapes);

#endif
