#include "configs/tensor_role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */

/* Only asked for tensors of two dimensions and more: a vector's place follows
 * from its shape.  Sources of the names: this repository, GPT-2 and nanoGPT,
 * Llama and Mistral (transformers and the original), Mixtral, Qwen, DeepSeek,
 * BERT, GPT-NeoX, Megatron-LM, T5 and Switch. */
const struct role_pattern tensor_role_builtin[] = {
    /* stacks of biases and gains, one row for each expert or layer */
    { "*bias", MUP_VECTOR, 0 },
    { "*norm.weight", MUP_VECTOR, 0 },
    { "*norm.scale", MUP_VECTOR, 0 },
    { "*ln_?.weight", MUP_VECTOR, 0 },
    { "*ln_?.scale", MUP_VECTOR, 0 },

    /* routers: "gate" alone, where "gate_proj" is an expert's matrix */
    { "*router*", MUP_ROUTER, 0 },
    { "*block_sparse_moe.gate.*", MUP_ROUTER, 0 },
    { "*mlp.gate.weight", MUP_ROUTER, 0 },
    { "*ffn.gate.weight", MUP_ROUTER, 0 },
    { "*moe.gate.weight", MUP_ROUTER, 0 },
    { "*gate.wg.*", MUP_ROUTER, 0 },
    { "*shared_expert_gate*", MUP_ROUTER, 0 },

    /* an expert that every token uses is a dense layer */
    { "*shared_expert*", MUP_HIDDEN, 0 },
    { "*moe.shared_*", MUP_HIDDEN, 0 },

    { "*experts*down_proj*", MUP_EXPERT_DOWN, 0 },
    { "*experts*w2*", MUP_EXPERT_DOWN, 0 },
    { "*experts*.wo.*", MUP_EXPERT_DOWN, 0 },
    { "*experts*fc2*", MUP_EXPERT_DOWN, 0 },
    { "*experts*c_proj*", MUP_EXPERT_DOWN, 0 },
    { "*moe.down", MUP_EXPERT_DOWN, 0 },
    { "*experts*up_proj*", MUP_EXPERT_UP, 0 },
    { "*experts*gate_proj*", MUP_EXPERT_UP, 0 },
    { "*experts*w1*", MUP_EXPERT_UP, 0 },
    { "*experts*w3*", MUP_EXPERT_UP, 0 },
    { "*experts*.wi.*", MUP_EXPERT_UP, 0 },
    { "*experts*.wi_?.*", MUP_EXPERT_UP, 0 },
    { "*experts*fc1*", MUP_EXPERT_UP, 0 },
    { "*experts*c_fc*", MUP_EXPERT_UP, 0 },
    { "*moe.up", MUP_EXPERT_UP, 0 },
    { "*moe.gate", MUP_EXPERT_UP, 0 },

    { "*k_proj*", MUP_KEY_VALUE, 0 },
    { "*v_proj*", MUP_KEY_VALUE, 0 },
    { "*kv_proj*", MUP_KEY_VALUE, 0 },
    { "*linear_kv*", MUP_KEY_VALUE, 0 },
    { "*.wk.*", MUP_KEY_VALUE, 0 },
    { "*.wv.*", MUP_KEY_VALUE, 0 },
    { "*attention.self.key.*", MUP_KEY_VALUE, 0 },
    { "*attention.self.value.*", MUP_KEY_VALUE, 0 },
    { "*Attention.k.*", MUP_KEY_VALUE, 0 },
    { "*Attention.v.*", MUP_KEY_VALUE, 0 },
    { "*attn.k", MUP_KEY_VALUE, 0 },
    { "*attn.v", MUP_KEY_VALUE, 0 },

    { "*q_proj*", MUP_HIDDEN, 0 },
    { "*o_proj*", MUP_HIDDEN, 0 },
    { "*out_proj*", MUP_HIDDEN, 0 },
    { "*qkv*", MUP_HIDDEN, 0 },
    { "*query_key_value*", MUP_HIDDEN, 0 },
    { "*c_attn*", MUP_HIDDEN, 0 },
    { "*c_proj*", MUP_HIDDEN, 0 },
    { "*c_fc*", MUP_HIDDEN, 0 },
    { "*.wq.*", MUP_HIDDEN, 0 },
    { "*.wo.*", MUP_HIDDEN, 0 },
    { "*.wi.*", MUP_HIDDEN, 0 },
    { "*.wi_?.*", MUP_HIDDEN, 0 },
    { "*attn.q", MUP_HIDDEN, 0 },
    { "*attn.o", MUP_HIDDEN, 0 },
    { "*gate_proj*", MUP_HIDDEN, 0 },
    { "*up_proj*", MUP_HIDDEN, 0 },
    { "*down_proj*", MUP_HIDDEN, 0 },
    { "*.w1.*", MUP_HIDDEN, 0 },
    { "*.w2.*", MUP_HIDDEN, 0 },
    { "*.w3.*", MUP_HIDDEN, 0 },
    { "*linear_fc1*", MUP_HIDDEN, 0 },
    { "*linear_fc2*", MUP_HIDDEN, 0 },
    { "*linear_proj*", MUP_HIDDEN, 0 },
    { "*dense_h_to_4h*", MUP_HIDDEN, 0 },
    { "*dense_4h_to_h*", MUP_HIDDEN, 0 },

    { "*lm_head*", MUP_OUTPUT, 0 },
    { "*unembed*", MUP_OUTPUT, 0 },
    { "*embed_out*", MUP_OUTPUT, 0 },
    { "*output_layer.weight", MUP_OUTPUT, 0 },
    { "output.weight", MUP_OUTPUT, 0 },
    { "model.output.weight", MUP_OUTPUT, 0 },
    { "*classifier.weight", MUP_OUTPUT, 0 },
    { "*score.weight", MUP_OUTPUT, 0 },

    { "*embed_tokens*", MUP_INPUT, 0 },
    { "*embed_positions*", MUP_INPUT, 0 },
    { "*embed_in.*", MUP_INPUT, 0 },
    { "*embedding*", MUP_INPUT, 0 },
    { "*embed", MUP_INPUT, 0 },
    { "*embed.weight", MUP_INPUT, 0 },
    { "*wte*", MUP_INPUT, 0 },
    { "*wpe*", MUP_INPUT, 0 },
    { 0 },
};

/* clang-format on */

/* '*' tries the shortest run first and is given one more character whenever
 * what follows fails; the last '*' alone has to be tried again. */
static int covers(const char *glob, const char *text)
{
    const char *star = NULL, *begun = NULL;

    while (*text) {
        if (*glob == '*') {
            star = glob++;
            begun = text;
        } else if (*glob == '?' || *glob == *text) {
            glob++;
            text++;
        } else if (star) {
            glob = star + 1;
            text = ++begun;
        } else {
            return 0;
        }
    }
    while (*glob == '*')
        glob++;
    return !*glob;
}

const struct role_pattern *
tensor_role_find(const struct role_patterns *patterns, const char *name)
{
    for (int i = 0; patterns && i < patterns->n; i++)
        if (covers(patterns->list[i].glob, name))
            return &patterns->list[i];
    for (const struct role_pattern *p = tensor_role_builtin; p->glob; p++)
        if (covers(p->glob, name))
            return p;
    return NULL;
}

int tensor_role_by_name(const char *name)
{
    return mup_name_find(mup_role_name, MUP_ROLE_COUNT, name);
}

void tensor_role_list(char out[TENSOR_ROLE_LIST_BYTES])
{
    size_t n = 0;

    for (int i = 0; i < MUP_ROLE_COUNT && n < TENSOR_ROLE_LIST_BYTES; i++)
        n += (size_t)snprintf(out + n, TENSOR_ROLE_LIST_BYTES - n, "%s%s",
                              i ? ", " : "", mup_role_name(i));
}

/* --- a file of patterns --- */

/* The next word of *at, ended with a NUL, or NULL. */
static char *take_word(char **at)
{
    char *word = *at + strspn(*at, " \t\r"), *end;

    if (!*word)
        return NULL;
    end = word + strcspn(word, " \t\r");
    *at = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

/* One line, its newline already replaced. */
static int take_line(struct role_patterns *p, char *line, int number,
                     struct mup_error *err)
{
    char *glob, *role, roles[TENSOR_ROLE_LIST_BYTES];
    struct role_pattern row = { .line = number };

    line[strcspn(line, "#")] = '\0';
    glob = take_word(&line);
    if (!glob)
        return MUP_OK;
    role = take_word(&line);
    if (!role || take_word(&line))
        return mup_fail(err, MUP_USAGE,
                        "%s:%d: a line is 'GLOB ROLE', as in '*lm_head* "
                        "output'",
                        p->path, number);
    row.glob = glob;
    row.role = tensor_role_by_name(role);
    if (row.role < 0) {
        tensor_role_list(roles);
        return mup_fail(err, MUP_USAGE,
                        "%s:%d: unknown role '%.60s'; one of %s", p->path,
                        number, role, roles);
    }
    p->list[p->n++] = row;
    return MUP_OK;
}

static int take_lines(struct role_patterns *p, struct mup_error *err)
{
    char *line = p->text;
    int number = 1, rc = MUP_OK;

    while (rc == MUP_OK && line) {
        char *end = strchr(line, '\n');

        if (end)
            *end = '\0';
        rc = take_line(p, line, number++, err);
        line = end ? end + 1 : NULL;
    }
    return rc;
}

int tensor_role_patterns_open(const char *text, size_t bytes, const char *path,
                              struct role_patterns *out, struct mup_error *err)
{
    struct role_patterns p = { 0 };
    size_t lines = 1;
    int rc;

    if (memchr(text, '\0', bytes))
        return mup_fail(err, MUP_USAGE, "'%s' is no text: it holds a NUL",
                        path);
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    p.path = strdup(path);
    p.text = malloc(bytes + 1);
    p.list = calloc(lines, sizeof(*p.list));
    if (!p.path || !p.text || !p.list) {
        rc =
            mup_fail(err, MUP_SYSTEM, "out of memory while reading '%s'", path);
    } else {
        memcpy(p.text, text, bytes);
        p.text[bytes] = '\0';
        rc = take_lines(&p, err);
    }
    if (rc == MUP_OK)
        *out = p;
    else
        tensor_role_patterns_close(&p);
    return rc;
}

void tensor_role_patterns_close(struct role_patterns *patterns)
{
    free(patterns->path);
    free(patterns->text);
    free(patterns->list);
    *patterns = (struct role_patterns){ 0 };
}

/* --- blocks --- */

/* "3", "3.", "3/": digits up to the end of a component. */
static int is_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits && (!text[digits] || strchr("./]", text[digits]));
}

int tensor_role_in_block(const char *name)
{
    static const char *const words[] = { "layers", "layer", "blocks", "block",
                                         "h" };

    for (const char *at = name; at;) {
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            size_t len = strlen(words[i]);

            if (!strncmp(at, words[i], len) && at[len] &&
                strchr("._/[", at[len]) && is_number(at + len + 1))
                return 1;
        }
        at = strpbrk(at, "./");
        if (at)
            at++;
    }
    return 0;
}
