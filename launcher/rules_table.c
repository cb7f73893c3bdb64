#include "launcher/rules_table.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "configs/field.h"
#include "launcher/json.h"
#include "sweep/csv.h"

/* The logits of a tied table carry a readout's factor; the table itself keeps
 * the rule of an input. */
static int fill_readout(const struct mup_rules *rules, struct rules_row *row,
                        struct mup_error *err)
{
    const struct mup_shape readout = { row->shape.name, MUP_OUTPUT,
                                       row->shape.fan_in, row->shape.fan_out,
                                       row->shape.in_block };
    struct mup_scale scale;
    int rc;

    row->readout = 0;
    if (row->shape.role != MUP_TIED)
        return MUP_OK;
    rc = mup_scale(rules, &readout, &scale, err);
    if (rc == MUP_OK)
        row->readout = scale.forward;
    return rc;
}

int rules_row_fill(const struct mup_rules *rules, struct rules_row *row,
                   struct mup_error *err)
{
    int rc = mup_scale(rules, &row->shape, &row->scale, err);

    if (rc == MUP_OK)
        rc = fill_readout(rules, row, err);
    if (rc == MUP_OK)
        rc = mup_rule_name(rules, &row->shape, row->rule, &row->source, err);
    return rc;
}

static const char *class_name(const struct rules_row *row)
{
    return mup_role_name(mup_role_class(row->shape.role));
}

static const char *dist_name(const struct rules_row *row)
{
    return row->constant ? "constant" : "normal";
}

/* --- JSON --- */

static json_t *row_json(const struct rules_row *row)
{
    const struct mup_scale *s = &row->scale;
    json_t *o = json_object(), *init = json_object();

    json_object_set_new(o, "name", json_string(row->shape.name));
    json_object_set_new(o, "class", json_string(class_name(row)));
    json_object_set_new(o, "role", json_string(mup_role_name(row->shape.role)));
    json_object_set_new(o, "width_mult", json_real(row->width_mult));
    json_object_set_new(init, "dist", json_string(dist_name(row)));
    json_object_set_new(init, "std_mult", json_real(s->init_std));
    json_object_set_new(o, "init", init);
    json_object_set_new(o, "forward_mult", json_real(s->forward));
    json_object_set_new(o, "lr_mult", json_real(s->lr));
    json_object_set_new(o, "eps_mult", json_real(s->eps));
    json_object_set_new(o, "wd_mult", json_real(s->weight_decay));
    if (row->readout > 0)
        json_object_set_new(o, "readout_mult", json_real(row->readout));
    json_object_set_new(o, "rule", json_string(row->rule));
    json_object_set_new(o, "doc", json_string(row->source));
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION));
    return o;
}

static int print_json(const struct rules_table *table, struct mup_error *err)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < table->n; i++)
        json_array_append_new(list, row_json(&table->rows[i]));
    return json_print(list, err);
}

/* --- CSV --- */

static void print_real(double value)
{
    char text[32];

    format_real(value, text, sizeof(text));
    printf("%s,", text);
}

static void print_csv_row(const struct rules_row *row)
{
    const struct mup_scale *s = &row->scale;

    csv_put_text(stdout, row->shape.name);
    printf(",%s,%s,", class_name(row), mup_role_name(row->shape.role));
    print_real(row->width_mult);
    printf("%s,", dist_name(row));
    print_real(s->init_std);
    print_real(s->forward);
    print_real(s->lr);
    print_real(s->eps);
    print_real(s->weight_decay);
    if (row->readout > 0)
        print_real(row->readout);
    else
        printf(",");
    printf("%s,", row->rule);
    csv_put_text(stdout, row->source);
    printf(",%d\n", MUP_RULESET_VERSION);
}

static void print_csv(const struct rules_table *table)
{
    printf("name,class,role,width_mult,init_dist,init_std_mult,forward_mult,"
           "lr_mult,eps_mult,wd_mult,readout_mult,rule,doc,ruleset\n");
    for (int64_t i = 0; i < table->n; i++)
        print_csv_row(&table->rows[i]);
}

/* --- for people --- */

static int name_columns(const struct rules_table *table)
{
    size_t widest = strlen("tensor");

    for (int64_t i = 0; i < table->n; i++) {
        size_t n = strlen(table->rows[i].shape.name);

        widest = n > widest ? n : widest;
    }
    return widest > 60 ? 60 : (int)widest;
}

static void print_footer(const struct rules_table *table)
{
    const struct mup_rules *r = &table->rules;

    for (int64_t i = 0; i < table->n; i++)
        if (table->rows[i].readout > 0)
            printf("the logits from the tied table '%s' x %.6g\n",
                   table->rows[i].shape.name, table->rows[i].readout);
    if (r->depth != MUP_DEPTH_NONE)
        printf("residual branches x %.6g\n", mup_residual_scale(r));
    printf("%s, %s%s, %s, decay %s; rule set %d; factors relative to base\n",
           mup_parametrization_name(r->parametrization),
           mup_optimizer_name(r->optimizer), r->atan2 ? "-atan2" : "",
           mup_form_name(r->form),
           r->optimizer == MUP_ADAM ? "none (adamw has one)"
                                    : mup_decay_name(r->decay),
           MUP_RULESET_VERSION);
}

static void print_table(const struct rules_table *table)
{
    int w = name_columns(table);

    printf("%-*s %-11s %-8s %-10s %-10s %-10s %-10s %-10s %s\n", w, "tensor",
           "role", "width", "init std", "forward", "lr", "eps", "decay",
           "rule");
    for (int64_t i = 0; i < table->n; i++) {
        const struct rules_row *row = &table->rows[i];
        const struct mup_scale *s = &row->scale;

        printf("%-*s %-11s %-8.6g %-10.6g %-10.6g %-10.6g %-10.6g %-10.6g %s\n",
               w, row->shape.name, mup_role_name(row->shape.role),
               row->width_mult, s->init_std, s->forward, s->lr, s->eps,
               s->weight_decay, row->rule);
    }
    print_footer(table);
}

int rules_table_check_format(const char *format, struct mup_error *err)
{
    if (!strcmp(format, "json") || !strcmp(format, "csv") ||
        !strcmp(format, "table"))
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "--format: unknown format '%.40s'; one of json, csv, table",
                    format);
}

int rules_table_print(const struct rules_table *table, const char *format,
                      struct mup_error *err)
{
    int rc = rules_table_check_format(format, err);

    if (rc != MUP_OK)
        return rc;
    if (!strcmp(format, "json"))
        return print_json(table, err);
    if (!strcmp(format, "csv"))
        print_csv(table);
    else
        print_table(table);
    return MUP_OK;
}
