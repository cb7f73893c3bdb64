/* The rules of the linter: what 'mutransfer help rule' prints.  What a rule
 * compares is coded in lint.c under the same id. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/lint.h"

#define TP5 "Tensor Programs V (Yang et al. 2022, arXiv 2203.03466)"
#define PLAYBOOK                                                               \
    "google-research/tuning_playbook, on search spaces and their boundaries"
#define CONTRACT "by definition: every key has a role, see 'help config'"

const struct lint_rule lint_rules[] = {
    { "M001", LINT_WARNING, "the proxy is narrow", 256,
      "model.width of the proxy, the widest that the sweep has",
      "the laws of large width hold only roughly in a narrow model",
      TP5 ", the smallest width at which transfer was validated",
      "use proxies of that width and more for a decision; smaller ones show "
      "the mechanism",
      "a sweep over widths 32, 64 and 128 for a target of width 2048" },
    { "M002", LINT_WARNING, "the proxy trains for few steps", 5000,
      "train.steps of the proxy",
      "in short runs the best learning rate still depends on the length",
      TP5 ", the smallest number of steps at which transfer was validated",
      "train the proxies for that many steps, or read the result as a toy",
      "proxies of 150 steps for a target of 100000" },
    { "M003", LINT_WARNING, "the proxy is shallow", 4,
      "model.layers of the proxy",
      "a network of a few blocks lacks what depth does to the optimum",
      TP5 ", the smallest depth at which transfer was validated",
      "give the proxy that many layers, best as many as the target has",
      "a proxy of 2 layers for a target of 32" },
    { "M004", LINT_WARNING, "the proxy's batch is small", 32,
      "train.batch of the proxy, in sequences",
      "small batches put gradient noise in charge of the best learning rate",
      TP5 ", the smallest batch at which transfer was validated",
      "use that many sequences a step, best as many as the target uses",
      "a proxy with 8 sequences a step for a target with 1024" },
    { "M010", LINT_WARNING, "the best learning rate lies on the grid's edge", 0,
      "the optimum at the winner's width with the ends of its grid",
      "the minimum may lie outside: the winner is only the best that was tried",
      PLAYBOOK,
      "extend the grid by two octaves at that end and run the sweep again; "
      "what is done is kept",
      "rates 2^-9 to 2^-5, and the best is 2^-5" },
    { "M011", LINT_WARNING, "few points around the optimum", 5,
      "finite learning rates near the optimum at the winner's width",
      "a parabola through few points follows their noise",
      "by definition: three coefficients need more than three points",
      "add learning rates within two octaves of the optimum",
      "three rates, two octaves apart, of which one diverges" },
    { "M012", LINT_WARNING, "divergence is close above the optimum", 2,
      "octaves from the optimum to the first diverged rate",
      "a small drift, a longer run or a bad batch pushes the target over",
      "microsoft/mup issue 22: transferred rates that gave NaN at full size",
      "tune warmup, clipping or z-losses with the rate, or train the target "
      "half an octave lower on purpose",
      "the optimum is 2^-6 and runs at 2^-5 diverge: a margin of 1 octave" },
    { "M013", LINT_WARNING, "seeds scatter more than the best two differ", 0,
      "gap of the two best configurations, mean over their common seeds, with "
      "its standard error",
      "chance chose the winner among its neighbours",
      "paired differences over seeds; see docs/mathematics.md",
      "add seeds, or take either: the two are as good as each other",
      "3.412 and 3.415 with seeds that scatter by 0.01" },
    { "M014", LINT_ERROR, "the target changes a hyperparameter", 0,
      "keys of role transfer that the target gives, with the proxy's",
      "the optimum is known for the proxy's value; changed alone it is none",
      CONTRACT,
      "remove the key from the target, 'mutransfer transfer' carries it over; "
      "or tune the proxy with it",
      "train.beta2 is 0.95 in the proxy and 0.99 in the target" },
    { "M015", LINT_ERROR, "what must be equal differs", 0,
      "keys of role fixed that the target gives, with the proxy's",
      "no rule corrects for the difference, so the optimum may move", CONTRACT,
      "make both equal, or run the proxies with the target's value",
      "train.optimizer is adamw in the proxy and sgd in the target" },
    { "M016", LINT_WARNING, "the target does not give what the proxy decides",
      0, "keys of role transfer or fixed that only the proxy gives",
      "trained as it is, the target would use its defaults", CONTRACT,
      "let 'mutransfer transfer' write the target: it carries these keys over "
      "(a note only, where the target cannot be trained without it)",
      "mup.init_std is 0.18 in the proxy and not given in the target" },
    { "M017", LINT_INFO, "keys that may differ", 0,
      "keys of role scale, such as width, depth, batch and steps",
      "S: a rule corrects for it; E: transfer is an experience, not a theorem",
      TP5 "; microsoft/mup issue 24",
      "keep those of class E as close as the budget allows",
      "model.width 128 -> 2048 (S), train.steps 5000 -> 100000 (E)" },
    { "M018", LINT_ERROR,
      "the target is wider and under the standard parametrization", 0,
      "mup.parametrization of the target, where the widths differ",
      "under the standard parametrization the best rate moves with width",
      TP5 ", figure 1",
      "set mup.parametrization: mup in both, and finish proxies under it",
      "an sp proxy of width 128 for an sp target of width 2048" },
    { "M019", LINT_WARNING, "the sweep is not finished", 0,
      "trials of the sweep that are done with those that were asked for",
      "the winner may change", "by definition",
      "run the same 'mutransfer sweep' command again: it continues",
      "40 of 54 trials are done" },
    { "M020", LINT_ERROR, "the schedule has another shape", 0,
      "train.schedule, train.final_lr and, of wsd, train.decay",
      "high rates win early and low rates late: the fall decides which is best",
      "microsoft/mup issue 64",
      "give both the same schedule; fractions of the run stretch by themselves",
      "linear to 0 in the proxy, cosine to 10 % in the target" },
    { "M021", LINT_WARNING, "the proxy does not decay its learning rate", 0.25,
      "the schedule's factor at the proxy's last step",
      "without a decay the loss at the end measures noise, not progress",
      "microsoft/mup issue 64",
      "let the proxies decay to a tenth of the peak or to 0, as the target "
      "will",
      "train.schedule: constant" },
    { "M022", LINT_ERROR, "the warm-up is another fraction of the run", 0,
      "train.warmup, a fraction of the steps, of both",
      "warm-up sets how high a rate survives, so it moves the optimum",
      "microsoft/mup issue 40",
      "carry it over; or make train.warmup a parameter of the sweep",
      "0.2 in the proxy and 0.01 in the target" },
    { "M023", LINT_WARNING, "rounding changes the feed-forward ratio", 0.05,
      "the hidden width of an expert over model.width, after rounding, as a "
      "fraction of the proxy's",
      "another ratio is another architecture, whose optimum may differ",
      "by definition: model.ffn_ratio times the width is rounded to a whole",
      "choose widths that make model.ffn_ratio times the width whole",
      "ratio 0.1: 3 / 32 = 0.094 in the proxy, 0.1 in the target" },
    { "M024", LINT_ERROR, "query heads are grouped differently", 0,
      "model.kv_group of both",
      "keys and values that more heads share get larger gradients",
      "by definition: the rules take kv_group for constant",
      "use one kv_group and let the number of heads grow with the width; "
      "mup.gqa: experimental has a factor that is not proven",
      "1 in the proxy and 8 in the target" },
    { "M025", LINT_ERROR, "the head size differs", 0, "model.head_size of both",
      "the attention scale is base_head_size^(1/2) / head_size: exact in the "
      "limit only",
      TP5 ", definition 4.1; Lingle 2024 (arXiv 2404.05728)",
      "keep model.head_size and let the number of heads grow with the width",
      "heads of 16 in the proxy and of 128 in the target" },
    { "M030", LINT_WARNING, "weight decay is coupled to the learning rate", 0,
      "train.decay_mode of the target, where train.weight_decay is not 0 and "
      "the "
      "parametrization is not sp",
      "rates fall with width, and the decay per step with them",
      "microsoft/mup issues 1 and 56; arXiv 2510.19093",
      "use train.decay_mode: independent, in proxy and target",
      "coupled, 0.1: at 8 times the width a hidden weight decays 8 times "
      "slower" },
    { "M040", LINT_ERROR, "the tokens differ", 0,
      "model.vocab, and the tokenizer in the description of both corpora",
      "the vocabulary is a finite dimension: other tokens, another problem",
      "by definition: a limit is taken over width, not over the vocabulary",
      "prepare both corpora with the same tokenizer",
      "bytes (320) in the proxy, a vocabulary of 50304 in the target" },
    { "M041", LINT_WARNING, "only the proxy repeats its data", 0,
      "epochs, tokens trained over tokens in the corpus, of both",
      "a second pass rewards other learning rates than fresh text",
      "Muennighoff et al. 2023 (arXiv 2305.16264), on repeated data",
      "give the proxy more text, or fewer steps: at most one epoch",
      "10 M tokens of training on a corpus of 4 M: 2.5 epochs" },
    { "M050", LINT_ERROR, "the experts differ", 0,
      "model.experts, model.top_k and model.ffn_ratio of both",
      "counts of experts are finite dimensions and change the router's task",
      "arXiv 2508.09752: transfer over width breaks with granularity",
      "make the three equal, tune proxies of the target's counts, or choose "
      "a rule (mup.moe) at a fixed share of experts per token",
      "4 experts in the proxy and 64 in the target" },
    { "M051", LINT_WARNING, "the experts' load is unbalanced", 2,
      "largest load over the mean, worst layer, last quarter of the winner's "
      "run",
      "a router that failed at the optimum makes it one of fewer experts",
      "by definition: 1 is an even share; see docs/report.md",
      "raise train.balance_loss, or lower the learning rate, and sweep again",
      "one of 8 experts takes 40 % of the tokens: 3.2 times the mean" },
    { "M060", LINT_WARNING, "the embedding is the unembedding", 0,
      "model.tied of both",
      "one tensor in two roles has no rule that suits both",
      "microsoft/mup issue 55",
      "set model.tied: no; or tune mup.out_mult and mup.emb_mult in the sweep",
      "model.tied: yes" },
    { "M061", LINT_ERROR, "a rule is broken on purpose", 0,
      "mup.break of the target",
      "a broken rule is there to see that checks find it, not to train with",
      "by definition",
      "remove mup.break; if the sweep was run with it, sweep again",
      "mup.break: router_hidden in the target" },
    { "M070", LINT_WARNING, "the coordinate check is missing or stale", 2,
      "coord-<parametrization>/coord.json in the sweep's folder with the rule "
      "set of this program and the winner's config, width and learning rate "
      "(limit: octaves)",
      "without it a broken rule looks like an optimum that drifts",
      TP5 ", appendix D.1; microsoft/mup, coord_check",
      "run 'mutransfer coord-check SWEEP_DIR/trials/ID/config.yaml -o "
      "SWEEP_DIR/coord-mup', ID being the winner: the base config lacks what "
      "the sweep tuned",
      "the check was made with rule set 1, this program has 2" },
    { "M071", LINT_WARNING, "the coordinate check did not pass", 0,
      "the verdict in coord-<parametrization>/coord.json with PASS",
      "an activation or update grows with width: the optimum will move",
      TP5 ", appendix D.1",
      "read its cause with 'mutransfer report'; more widths or seeds decide an "
      "inconclusive one",
      "FAIL, blocks.0.moe.router.logits grows with width^0.5" },
    { "M072", LINT_WARNING, "the report is missing or stale", 0,
      "report.json in the sweep's folder with the trials that are done",
      "nobody has looked whether the optimum stays where it is",
      "by definition", "run 'mutransfer report SWEEP_DIR'",
      "12 trials were done since the report was written" },
    { "M073", LINT_WARNING, "the optimum is not shown to be stable", 0,
      "the report's verdict on the drift of the optimum over width",
      "an optimum that moves between proxies will move on to the target",
      "microsoft/mup issues 22 and 66; see docs/report.md",
      "add what the report asks for: seeds, learning rates or widths",
      "drift -0.6 octaves per doubling of width" },
    { "M080", LINT_ERROR, "sizes of the target do not divide", 0,
      "width / head_size, heads / kv_group and top_k / experts of the target, "
      "with what the proxy decides",
      "such a network cannot be built", "by definition",
      "choose a width that is a multiple of head_size times kv_group",
      "width 1000 with heads of 64" },
    { "M090", LINT_WARNING, "the unembedding dominates the proxy", 0.5,
      "FLOP of the unembedding as a fraction of all that the proxy computes",
      "the proxy then tunes its output layer, not its blocks",
      "by definition: width times vocabulary against layers times width^2",
      "use a wider or deeper proxy, or a smaller vocabulary in both",
      "width 128, 4 layers, vocabulary 50257: 89 % of the FLOP" },
    { 0 },
};

const struct lint_rule *lint_rule_find(const char *id)
{
    for (const struct lint_rule *r = lint_rules; r->id; r++)
        if (toupper((unsigned char)id[0]) == r->id[0] &&
            !strcmp(id + 1, r->id + 1))
            return r;
    return NULL;
}

const struct lint_rule *lint_rule_nearest(const char *id)
{
    const struct lint_rule *best = lint_rules;
    const char *digits = id + strcspn(id, "0123456789");
    long number = strtol(digits, NULL, 10), least = -1;

    for (const struct lint_rule *r = lint_rules; r->id; r++) {
        long d = labs(strtol(r->id + 1, NULL, 10) - number);

        if (least < 0 || d < least) {
            least = d;
            best = r;
        }
    }
    return best;
}

const char *lint_severity_name(int severity)
{
    static const char *const names[] = { "info", "warning", "error" };

    return names[severity];
}

const char *lint_class_name(int cls)
{
    switch (cls) {
    case LINT_TRANSFERS:
        return "transfers unchanged";
    case LINT_SCALED:
        return "scaled by rule";
    case LINT_EMPIRICAL:
        return "empirical only";
    case LINT_EQUAL:
        return "must be equal";
    default:
        return "";
    }
}
