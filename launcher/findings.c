#include "launcher/findings.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* "  model.width   128 -> 256   S, scaled by rule", one value where both have
 * the same. */
static void print_values(const struct lint_finding *f)
{
    char values[140];

    if (!strcmp(f->proxy, f->target))
        snprintf(values, sizeof(values), "%s", f->proxy[0] ? f->proxy : "-");
    else
        snprintf(values, sizeof(values), "%s -> %s",
                 f->proxy[0] ? f->proxy : "-", f->target[0] ? f->target : "-");
    if (f->cls)
        printf("    %-22s %-32s %c, %s\n", f->key, values, f->cls,
               lint_class_name(f->cls));
    else
        printf("    %-22s %s\n", f->key, values);
}

void findings_print(const struct lint_findings *found)
{
    for (int i = 0; i < found->n; i++) {
        const struct lint_finding *f = &found->list[i];
        int first =
            i == 0 || f[-1].rule != f->rule || f[-1].severity != f->severity;
        int last = i + 1 == found->n || f[1].rule != f->rule ||
                   f[1].severity != f->severity;

        if (first)
            printf("%-7s %s  %s\n", lint_severity_name(f->severity),
                   f->rule->id, f->rule->title);
        if (f->key[0])
            print_values(f);
        if (!f->cls) /* else the line above says it all */
            printf("    %s\n", f->sentence);
        if (last)
            printf("    why: %s\n    fix: %s\n\n", f->rule->why, f->rule->fix);
    }
    printf("%d errors, %d warnings, %d notes", found->errors, found->warnings,
           found->infos);
    if (found->n > 0)
        printf("; 'mutransfer help rule %s' explains %s",
               found->list[0].rule->id, found->list[0].rule->id);
    printf("\n");
}

void findings_warn(const struct lint_findings *found)
{
    int shown = found->errors + found->warnings;

    for (int i = 0; i < shown; i++) /* notes come last */
        fprintf(stderr, "%s: %s %s\n",
                lint_severity_name(found->list[i].severity),
                found->list[i].rule->id, found->list[i].sentence);
    if (shown > 0)
        fprintf(stderr, "'mutransfer help rule %s' explains %s\n",
                found->list[0].rule->id, found->list[0].rule->id);
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *finding_json(const struct lint_finding *f)
{
    const char cls[2] = { (char)f->cls, '\0' };
    const struct section *section;
    const struct field *field = config_find(&run_schema, f->key, &section);
    json_t *o = json_object();

    json_object_set_new(o, "id", json_string(f->rule->id));
    json_object_set_new(o, "severity",
                        json_string(lint_severity_name(f->severity)));
    json_object_set_new(o, "title", json_string(f->rule->title));
    json_object_set_new(o, "key", text_or_null(f->key));
    json_object_set_new(
        o, "role", text_or_null(field ? field_role_name(field->role) : ""));
    json_object_set_new(o, "class", text_or_null(cls));
    json_object_set_new(o, "proxy", text_or_null(f->proxy));
    json_object_set_new(o, "target", text_or_null(f->target));
    json_object_set_new(o, "text", json_string(f->sentence));
    json_object_set_new(o, "why", json_string(f->rule->why));
    json_object_set_new(o, "source", json_string(f->rule->source));
    json_object_set_new(o, "fix", json_string(f->rule->fix));
    return o;
}

json_t *findings_json(const struct lint_findings *found)
{
    json_t *list = json_array();

    for (int i = 0; i < found->n; i++)
        json_array_append_new(list, finding_json(&found->list[i]));
    return list;
}

/* ---- pages ----------------------------------------------------------------
 */

void findings_print_rules(void)
{
    for (const struct lint_rule *r = lint_rules; r->id; r++)
        printf("  %s  %-8s %s\n", r->id, lint_severity_name(r->severity),
               r->title);
    printf("\n'mutransfer help rule M012' prints the page of a rule.\n");
}

/* "label  text", the text broken at blanks before column 80. */
static void print_paragraph(const char *label, const char *text)
{
    int column = 11;

    printf("%-10s", label);
    while (*text) {
        int word = (int)strcspn(text, " ");

        if (column + word > 79) {
            printf("\n%10s", "");
            column = 11;
        }
        printf(" %.*s", word, text);
        column += word + 1;
        text += word;
        text += strspn(text, " ");
    }
    printf("\n");
}

void findings_print_rule(const struct lint_rule *rule)
{
    char limit[32];

    printf("%s  %s (%s)\n\n", rule->id, rule->title,
           lint_severity_name(rule->severity));
    print_paragraph("compares", rule->compares);
    if (rule->limit > 0) {
        snprintf(limit, sizeof(limit), "%g", rule->limit);
        print_paragraph("limit", limit);
    }
    print_paragraph("why", rule->why);
    print_paragraph("source", rule->source);
    print_paragraph("what to do", rule->fix);
    print_paragraph("example", rule->example);
}

static void print_section(const struct lint_rule *r)
{
    printf("\n## %s\n\n**%c%s** (%s).\n\n- compares: %s\n", r->id,
           toupper((unsigned char)r->title[0]), r->title + 1,
           lint_severity_name(r->severity), r->compares);
    if (r->limit > 0)
        printf("- limit: %g\n", r->limit);
    printf("- why: %s\n- source: %s\n- what to do: %s\n- example: %s\n", r->why,
           r->source, r->fix, r->example);
}

void findings_print_reference(void)
{
    static const int classes[] = { LINT_TRANSFERS, LINT_SCALED, LINT_EMPIRICAL,
                                   LINT_EQUAL };

    printf(
        "# Rules of the linter\n\n"
        "Written by `mutransfer help rules-reference`; do not edit. "
        "`mutransfer lint PROXY TARGET.yaml`\nasks every rule that it has the "
        "data for; `transfer` and `launch` ask them too, refuse on errors\nand "
        "print warnings. `mutransfer help rule M012` prints one page. An id is "
        "never given to\nanother question. The folder of a sweep knows most: "
        "its trials, report and coordinate check.\n\n"
        "A key that differs has a class:");
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        printf("%s `%c` %s", i ? "," : "", classes[i],
               lint_class_name(classes[i]));
    printf(".\n\n| id | severity | title |\n|---|---|---|\n");
    for (const struct lint_rule *r = lint_rules; r->id; r++)
        printf("| [%s](#%c%s) | %s | %s |\n", r->id,
               tolower((unsigned char)r->id[0]), r->id + 1,
               lint_severity_name(r->severity), r->title);
    for (const struct lint_rule *r = lint_rules; r->id; r++)
        print_section(r);
}
