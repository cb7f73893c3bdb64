#include "model/config.h"

#include <math.h>
#include <string.h>

#include "configs/yaml.h"
#include "model/checkpoint_policy.h"
#include "model/drill.h"

#define AT(member) offsetof(struct model_config, member)
static const struct field model_fields[] = {
    { "width", FIELD_INT, ROLE_SCALE, AT(width), "256", "[1,1048576]",
      "model width D, the size of the residual stream" },
    { "layers", FIELD_INT, ROLE_SCALE, AT(layers), "2", "[1,4096]",
      "transformer blocks L" },
    { "head_size", FIELD_INT, ROLE_FIXED, AT(head_size), "16", "[2,4096]",
      "size of one attention head K (even); width / head_size heads" },
    { "kv_group", FIELD_INT, ROLE_FIXED, AT(kv_group), "2", "[1,4096]",
      "query heads that share one key/value head" },
    { "ffn_ratio", FIELD_REAL, ROLE_FIXED, AT(ffn_ratio), "4", "(0,64]",
      "hidden width of an expert over model width" },
    { "experts", FIELD_INT, ROLE_FIXED, AT(experts), "8", "[1,4096]",
      "experts E of each mixture-of-experts layer" },
    { "top_k", FIELD_INT, ROLE_FIXED, AT(top_k), "2", "[1,64]",
      "experts that each token is sent to" },
    { "vocab", FIELD_INT, ROLE_FIXED, AT(vocab), "320", "[2,1048576]",
      "vocabulary size V; byte-level tokens need 258, padded to 320" },
    { "seq", FIELD_INT, ROLE_SCALE, AT(seq), "128", "[1,1048576]",
      "sequence length T in tokens" },
    { "tied", FIELD_BOOL, ROLE_FIXED, AT(tied), "no", "",
      "use the embedding table as unembedding" },
    { "attn_softcap", FIELD_REAL, ROLE_FIXED, AT(attn_softcap), "30", "[0,inf)",
      "soft-cap of attention logits, 0 = off" },
    { "router_softcap", FIELD_REAL, ROLE_FIXED, AT(router_softcap), "0",
      "[0,inf)", "soft-cap of router logits, 0 = off" },
    { "router_renorm", FIELD_BOOL, ROLE_FIXED, AT(router_renorm), "no", "",
      "make the gates of a token's experts sum to 1" },
    { "rope_base", FIELD_REAL, ROLE_FIXED, AT(rope_base), "10000", "(1,inf)",
      "base of the rotary position angles" },
    { "norm_eps", FIELD_REAL, ROLE_FIXED, AT(norm_eps), "1e-5", "[0,1]",
      "epsilon inside RMSNorm" },
    { "qk_norm", FIELD_BOOL, ROLE_FIXED, AT(qk_norm), "no", "",
      "RMSNorm with a gain on every query and key head, before RoPE" },
    { "shared_expert", FIELD_BOOL, ROLE_FIXED, AT(shared_expert), "no", "",
      "one more expert that every token uses, added to the routed sum" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct mup_config, member)
static const struct field mup_fields[] = {
    { "parametrization", FIELD_CHOICE, ROLE_FIXED, AT(parametrization), "mup",
      "sp|mup|sp-perlayer|umup",
      "standard, maximal update, standard with learning rates per layer, "
      "unit-scaled muP" },
    { "form", FIELD_CHOICE, ROLE_FIXED, AT(form), "table8",
      "table8|table3|table9",
      "where muP's width factors stand; all three train alike" },
    { "base_width", FIELD_INT, ROLE_FIXED, AT(base_width), "256", "[1,1048576]",
      "width at which every factor is 1" },
    { "base_head_size", FIELD_INT, ROLE_FIXED, AT(base_head_size), "16",
      "[2,4096]", "head size at which the attention scale is 1/sqrt" },
    { "base_kv_group", FIELD_INT, ROLE_FIXED, AT(base_kv_group), "0",
      "[0,4096]", "model.kv_group at base, 0 = the same" },
    { "base_ffn_ratio", FIELD_REAL, ROLE_FIXED, AT(base_ffn_ratio), "0",
      "[0,64]", "model.ffn_ratio at base, 0 = the same" },
    { "base_layers", FIELD_INT, ROLE_FIXED, AT(base_layers), "0", "[0,4096]",
      "model.layers at base, for mup.depth" },
    { "base_experts", FIELD_INT, ROLE_FIXED, AT(base_experts), "0", "[0,4096]",
      "model.experts at base, for mup.moe" },
    { "depth", FIELD_CHOICE, ROLE_FIXED, AT(depth), "none",
      "none|depth-mup|completep",
      "rule for growing depth: residual branches times (layers / base)^-1/2 "
      "or ^-1" },
    { "moe", FIELD_CHOICE, ROLE_FIXED, AT(moe), "fixed_e",
      "fixed_e|mean_field|mssp|mssp_bottleneck",
      "what grows in the mixture of experts: widths alone, experts at fixed "
      "top_k / experts, experts and their width, experts of fixed width" },
    { "gqa", FIELD_CHOICE, ROLE_FIXED, AT(gqa), "equal", "equal|experimental",
      "another model.kv_group than at base is refused, or scaled by an "
      "experimental factor" },
    { "init_std", FIELD_REAL, ROLE_TRANSFER, AT(init_std), "2^-4", "[0,inf)",
      "init standard deviation of every matrix at base width" },
    { "emb_mult", FIELD_REAL, ROLE_TRANSFER, AT(emb_mult), "16", "(0,inf)",
      "multiplier of the embedding's output" },
    { "attn_mult", FIELD_REAL, ROLE_TRANSFER, AT(attn_mult), "1", "(0,inf)",
      "multiplier of the attention logits" },
    { "out_mult", FIELD_REAL, ROLE_TRANSFER, AT(out_mult), "1", "(0,inf)",
      "multiplier of the output logits" },
    { "router_mult", FIELD_REAL, ROLE_TRANSFER, AT(router_mult), "1", "(0,inf)",
      "multiplier of the router logits" },
    { "zero_readout", FIELD_BOOL, ROLE_TRANSFER, AT(zero_readout), "no", "",
      "start the unembedding at zero (untied only)" },
    { "zero_query", FIELD_BOOL, ROLE_TRANSFER, AT(zero_query), "no", "",
      "start the query matrices at zero" },
    { "duration", FIELD_CHOICE, ROLE_FIXED, AT(duration), "none", "none|sde",
      "rule for another batch size or number of tokens than at base" },
    { "base_batch", FIELD_INT, ROLE_FIXED, AT(base_batch), "0", "[0,1048576]",
      "train.batch at base, for mup.duration" },
    { "base_steps", FIELD_INT, ROLE_FIXED, AT(base_steps), "0",
      "[0,1000000000]", "train.steps at base, for mup.duration" },
    { "base_seq", FIELD_INT, ROLE_FIXED, AT(base_seq), "0", "[0,1048576]",
      "model.seq at base, for mup.duration; 0 = the same" },
    { "duration_exponent", FIELD_REAL, ROLE_FIXED, AT(duration_exponent), "0.5",
      "[0,1]",
      "learning rate falls as tokens^-x; 0.5 by theory, 0.3 as measured by "
      "some" },
    { "break", FIELD_CHOICE, ROLE_FIXED, AT(broken), "none",
      "none|router_hidden|router_no_mult|readout_no_mult|readout_twice|"
      "readout_lr|hidden_init|hidden_lr|hidden_lr_sqrt|down_lr|input_lr|"
      "vector_lr|tied_rescaled|eps|decay|attention|residual|depth_lr|muon",
      "a wrong rule in place of a right one, to see that checks find it" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct train_config, member)
static const struct field train_fields[] = {
    { "steps", FIELD_INT, ROLE_SCALE, AT(steps), "1000", "[1,1000000000]",
      "optimizer steps" },
    { "batch", FIELD_INT, ROLE_SCALE, AT(batch), "16", "[1,1048576]",
      "sequences per optimizer step" },
    { "micro_batch", FIELD_INT, ROLE_RUN, AT(micro_batch), "0", "[0,1048576]",
      "sequences per forward pass, 0 = the whole batch" },
    { "optimizer", FIELD_CHOICE, ROLE_FIXED, AT(optimizer), "adamw",
      "adamw|sgd|adam|lion|muon",
      "optimizer; muon takes the matrices inside blocks, adamw the rest" },
    { "lr", FIELD_REAL, ROLE_TRANSFER, AT(lr), NULL, "(0,inf)",
      "peak learning rate at base width" },
    { "beta1", FIELD_REAL, ROLE_TRANSFER, AT(beta1), "0.9", "[0,1)",
      "decay of Adam's first moment" },
    { "beta2", FIELD_REAL, ROLE_TRANSFER, AT(beta2), "0.95", "[0,1)",
      "decay of Adam's second moment" },
    { "eps", FIELD_REAL, ROLE_TRANSFER, AT(eps), "1e-8", "(0,1]",
      "Adam's epsilon at base width" },
    { "atan2", FIELD_BOOL, ROLE_FIXED, AT(atan2), "no", "",
      "Adam-atan2: no epsilon" },
    { "momentum", FIELD_REAL, ROLE_TRANSFER, AT(momentum), "0.9", "[0,1)",
      "momentum of SGD and Muon" },
    { "muon_scale", FIELD_CHOICE, ROLE_FIXED, AT(muon), "spectral",
      "spectral|keller-jordan|moonlight|plain",
      "factor on Muon's updates: sqrt(out/in), sqrt(max(1,out/in)), "
      "0.2 sqrt(max(out,in)), 1; its width dependence is compensated" },
    { "muon_adam_lr", FIELD_REAL, ROLE_TRANSFER, AT(muon_adam_lr), "1",
      "(0,inf)", "learning rate of what Muon leaves to AdamW, over train.lr" },
    { "weight_decay", FIELD_REAL, ROLE_TRANSFER, AT(weight_decay), "0",
      "[0,inf)", "weight decay of matrices at base width" },
    { "decay_mode", FIELD_CHOICE, ROLE_FIXED, AT(decay_mode), "independent",
      "independent|coupled|none|sqrt|detached",
      "what keeps still when a tensor's learning rate is scaled: rate x "
      "decay, decay alone, nothing decays, rate x decay x sqrt(m), decay "
      "without any rate" },
    { "clip", FIELD_REAL, ROLE_TRANSFER, AT(clip), "1", "[0,inf)",
      "limit of the global gradient norm, 0 = off" },
    { "schedule", FIELD_CHOICE, ROLE_FIXED, AT(schedule), "linear",
      "constant|cosine|linear|wsd", "learning-rate schedule after warm-up" },
    { "warmup", FIELD_REAL, ROLE_TRANSFER, AT(warmup), "0.1", "[0,1]",
      "fraction of the run spent warming up" },
    { "decay", FIELD_REAL, ROLE_TRANSFER, AT(decay), "0.2", "[0,1]",
      "fraction of the run that wsd spends falling" },
    { "final_lr", FIELD_REAL, ROLE_TRANSFER, AT(final_lr), "0", "[0,1]",
      "learning rate at the end, as a fraction of the peak" },
    { "z_loss", FIELD_REAL, ROLE_TRANSFER, AT(z_loss), "0", "[0,inf)",
      "weight of the squared log-partition of the output logits" },
    { "router_z_loss", FIELD_REAL, ROLE_TRANSFER, AT(router_z_loss), "1e-3",
      "[0,inf)", "weight of the squared log-partition of router logits" },
    { "balance_loss", FIELD_REAL, ROLE_TRANSFER, AT(balance_loss), "1e-2",
      "[0,inf)", "weight of the load-balance loss, per sequence" },
    { "seed", FIELD_INT, ROLE_RUN, AT(seed), "1", "[0,9007199254740992]",
      "seed of initialisation and data order" },
    { "diverge_after", FIELD_REAL, ROLE_RUN, AT(diverge_after), "0.1", "[0,1]",
      "fraction of the run, at least the warm-up, after which a "
      "loss above the initial one counts as diverged" },
    { "spike_limit", FIELD_REAL, ROLE_FIXED, AT(spike_limit), "0", "[0,1e9]",
      "a step whose gradient norm is above so many times the median of the "
      "last 64 is skipped, 0 = none; after 11 in a row the run has diverged" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct data_config, member)
static const struct field data_fields[] = {
    { "train", FIELD_TEXT, ROLE_RUN, AT(train), "synthetic", "",
      "token shard to train on, or synthetic" },
    { "valid", FIELD_TEXT, ROLE_RUN, AT(valid), "synthetic", "",
      "held-out token shard, or synthetic" },
    { "valid_sequences", FIELD_INT, ROLE_RUN, AT(valid_sequences), "64",
      "[1,1048576]", "held-out sequences per evaluation, at most" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct run_section, member)
static const struct field run_fields[] = {
    { "backend", FIELD_TEXT, ROLE_RUN, AT(backend), "auto", "",
      "auto, fast, ref, ref64, or fast-v2, fast-v3, fast-v4" },
    { "log_every", FIELD_INT, ROLE_RUN, AT(log_every), "10", "[1,1000000000]",
      "steps between lines of metrics.jsonl" },
    { "eval_every", FIELD_INT, ROLE_RUN, AT(eval_every), "0", "[0,1000000000]",
      "steps between evaluations, 0 = only at the end" },
    { "verify_every", FIELD_INT, ROLE_RUN, AT(verify_every), "0",
      "[0,1000000000]",
      "look for silent corruption of memory in every step and compute the "
      "gradients of every so many steps twice, 0 = off (docs/faults.md)" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct checkpoint_config, member)
static const struct field checkpoint_fields[] = {
    { "every", FIELD_TEXT, ROLE_RUN, AT(every), "0", "",
      "steps (200), minutes (10 min) or auto between checkpoints; 0 = only "
      "when stopped and at the end" },
    { "keep", FIELD_TEXT, ROLE_RUN, AT(keep), "last 2", "",
      "checkpoints that are kept: last N, or last N, every STEPS (these stay "
      "for ever)" },
    { "quota_gib", FIELD_REAL, ROLE_RUN, AT(quota_gib), "0", "[0,1e9]",
      "GiB that the checkpoints of a run may take, 0 = no limit; goes before "
      "checkpoint.keep and its `every` (docs/formats.md)" },
    { "mtbf_hours", FIELD_REAL, ROLE_RUN, AT(mtbf_hours), "24", "(0,1e6]",
      "hours between failures of the whole job, for checkpoint.every auto" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct parallel_config, member)
static const struct field parallel_fields[] = {
    { "data", FIELD_INT, ROLE_SCALE, AT(data), "auto", "auto|[0,1048576]",
      "ranks that replicate experts and split the batch" },
    { "expert", FIELD_INT, ROLE_SCALE, AT(expert), "auto", "auto|[0,1048576]",
      "ranks that split the experts, and the batch too" },
    { "tensor", FIELD_INT, ROLE_SCALE, AT(tensor), "auto", "auto|[0,1048576]",
      "ranks that split heads, hidden units and vocabulary" },
    { "deadline_s", FIELD_REAL, ROLE_RUN, AT(deadline_s), "600", "(0,86400]",
      "seconds until a rank that does not arrive at a message is lost" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct drill_config, member)
static const struct field drill_fields[] = {
    { "kill", FIELD_TEXT, ROLE_RUN, AT(kill), "", "",
      "rank R step S: the rank kills itself" },
    { "stop", FIELD_TEXT, ROLE_RUN, AT(stop), "", "",
      "rank R step S: the rank stops (SIGSTOP)" },
    { "slow", FIELD_TEXT, ROLE_RUN, AT(slow), "", "",
      "rank R ms M: the rank sleeps so long in every step" },
    { "flip", FIELD_TEXT, ROLE_RUN, AT(flip), "", "",
      "rank R step S weight|m|v|grad|compute|copy TENSOR bit B: one bit "
      "changes in memory (docs/faults.md)" },
    { "slow_write", FIELD_TEXT, ROLE_RUN, AT(slow_write), "", "",
      "rank R ms M: every write of a checkpoint takes so long" },
    { "fail_write", FIELD_TEXT, ROLE_RUN, AT(fail_write), "", "",
      "rank R write N: the N-th write of a checkpoint fails" },
    { "fill_disk", FIELD_TEXT, ROLE_RUN, AT(fill_disk), "", "",
      "rank R bytes N: after so many bytes of checkpoints the disk is full" },
    { "preflight", FIELD_TEXT, ROLE_RUN, AT(preflight), "", "",
      "node NAME slow|bits|hang|unreadable|disk|clock|device: the check before "
      "the start finds this on that node" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct launch_config, member)
static const struct field launch_fields[] = {
    { "local", FIELD_INT, ROLE_RUN, AT(local), "1", "[1,1024]",
      "ranks started on this machine" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct slurm_config, member)
static const struct field slurm_fields[] = {
    { "nodes", FIELD_INT, ROLE_RUN, AT(nodes), "1", "[1,65536]",
      "nodes that train, or whose workers run the trials of a sweep" },
    { "spares", FIELD_INT, ROLE_RUN, AT(spares), "0", "[0,65536]",
      "more nodes in the same job, which stand by for those that fail" },
    { "ranks_per_node", FIELD_INT, ROLE_RUN, AT(ranks_per_node), "1",
      "[1,1024]", "ranks, or workers of a sweep, on every node" },
    { "cpus_per_rank", FIELD_INT, ROLE_RUN, AT(cpus_per_rank), "1", "[1,1024]",
      "CPUs of every rank or worker" },
    { "gpus_per_node", FIELD_INT, ROLE_RUN, AT(gpus_per_node), "0", "[0,64]",
      "GPUs that are asked for and looked for on every node" },
    { "memory_gib", FIELD_REAL, ROLE_RUN, AT(memory_gib), "0", "[0,1e6]",
      "GiB of memory on every node, 0 = what the site gives" },
    { "time_min", FIELD_REAL, ROLE_RUN, AT(time_min), "60", "[1,525600]",
      "minutes that one job may take; a run that needs more is continued by "
      "the same job, queued again" },
    { "signal_s", FIELD_REAL, ROLE_RUN, AT(signal_s), "0", "[0,86400]",
      "seconds before the job's end at which the state is saved, 0 = 120, or "
      "a quarter of the job's time if that is less" },
    { "requeues", FIELD_INT, ROLE_RUN, AT(requeues), "100", "[0,100000]",
      "times that a run may be queued again" },
    { "partition", FIELD_TEXT, ROLE_RUN, AT(partition), "", "",
      "partition, empty = the site's default" },
    { "account", FIELD_TEXT, ROLE_RUN, AT(account), "", "",
      "account that pays, empty = the user's default" },
    { "qos", FIELD_TEXT, ROLE_RUN, AT(qos), "", "",
      "quality of service, empty = the user's default" },
    { "constraint", FIELD_TEXT, ROLE_RUN, AT(constraint), "", "",
      "features that nodes must have, as sbatch --constraint takes them" },
    { "exclude", FIELD_TEXT, ROLE_RUN, AT(exclude), "", "",
      "nodes that are not wanted, as sbatch --exclude takes them" },
    { "setup", FIELD_TEXT, ROLE_RUN, AT(setup), "", "",
      "shell file that the batch script reads first (modules, paths)" },
    { "by", FIELD_CHOICE, ROLE_RUN, AT(by), "auto", "auto|libslurm|tools",
      "how SLURM is asked: by its library or by sbatch, squeue and scontrol" },
    { "array", FIELD_BOOL, ROLE_RUN, AT(array), "no", "",
      "a sweep asks for one small job per worker instead of one large job" },
    { 0 },
};
#undef AT

#define AT(member) offsetof(struct recover_config, member)
static const struct field recover_fields[] = {
    { "attempts", FIELD_INT, ROLE_RUN, AT(attempts), "3", "[1,1000]",
      "starts without a newer checkpoint until the run is given up" },
    { "progress", FIELD_INT, ROLE_RUN, AT(progress), "1", "[1,1000000000]",
      "steps by which a checkpoint must be newer to count for "
      "recover.attempts" },
    { "node_s", FIELD_REAL, ROLE_RUN, AT(node_s), "3", "[0.5,3600]",
      "seconds of silence after which a node counts as dead" },
    { "setup_s", FIELD_REAL, ROLE_RUN, AT(setup_s), "600", "[1,86400]",
      "seconds from the start of the ranks to their first step" },
    { "join_s", FIELD_REAL, ROLE_RUN, AT(join_s), "60", "[1,86400]",
      "seconds that ranks which are all there may take to find each other" },
    { "step_s", FIELD_REAL, ROLE_RUN, AT(step_s), "0", "[0,86400]",
      "seconds without a sign of life in which a rank counts as hung, 0 = "
      "ten times the longest so far, at least 10" },
    { "checkpoint_s", FIELD_REAL, ROLE_RUN, AT(checkpoint_s), "600",
      "[1,86400]", "the same while a checkpoint is written" },
    { "lease_s", FIELD_REAL, ROLE_RUN, AT(lease_s), "4", "[1,3600]",
      "seconds after which a rank that is cut off from its supervisor ends "
      "itself" },
    { "preflight", FIELD_BOOL, ROLE_RUN, AT(preflight), "yes", "",
      "check every node before it is used" },
    { "preflight_s", FIELD_REAL, ROLE_RUN, AT(preflight_s), "30", "[1,3600]",
      "seconds that the check may take" },
    { "strikes", FIELD_INT, ROLE_RUN, AT(strikes), "2", "[1,100]",
      "ranks that hang or are killed on a node until it is ejected; a dead "
      "node and one that damages data are ejected at once" },
    { "eject_h", FIELD_REAL, ROLE_RUN, AT(eject_h), "24", "[0,87600]",
      "hours for which an ejected node is left out of later jobs" },
    { "max_ejected", FIELD_INT, ROLE_RUN, AT(max_ejected), "0", "[0,65536]",
      "nodes that may be ejected at one time, 0 = a quarter of the job's, at "
      "least two" },
    { "exclude_file", FIELD_TEXT, ROLE_RUN, AT(exclude_file), "", "",
      "list of ejected nodes, shared by the runs of a user; empty = "
      "mutransfer/ejected.jsonl in $XDG_STATE_HOME or ~/.local/state" },
    { 0 },
};
#undef AT

static const struct section run_sections[] = {
    { "model", model_fields, offsetof(struct run_config, model),
      "the network" },
    { "mup", mup_fields, offsetof(struct run_config, mup),
      "the parametrization and its width-independent multipliers" },
    { "train", train_fields, offsetof(struct run_config, train),
      "optimizer, schedule and losses" },
    { "data", data_fields, offsetof(struct run_config, data), "what is read" },
    { "run", run_fields, offsetof(struct run_config, run),
      "logging and evaluation" },
    { "checkpoint", checkpoint_fields, offsetof(struct run_config, checkpoint),
      "what is saved, and when" },
    { "parallel", parallel_fields, offsetof(struct run_config, parallel),
      "how ranks share the work (docs/parallel.md)" },
    { "launch", launch_fields, offsetof(struct run_config, launch),
      "how a run is started" },
    { "slurm", slurm_fields, offsetof(struct run_config, slurm),
      "what is asked of SLURM (docs/slurm.md)" },
    { "recover", recover_fields, offsetof(struct run_config, recover),
      "how faults are answered under SLURM (docs/slurm.md)" },
    { "drill", drill_fields, offsetof(struct run_config, drill),
      "faults on purpose, to see them survived; empty = none" },
    { 0 },
};

const struct schema run_schema = {
    .sections = run_sections,
    .bytes = sizeof(struct run_config),
    .set_offset = offsetof(struct run_config, set),
    .n_set = sizeof(((struct run_config *)0)->set),
};

int run_config_given(const struct run_config *config, const char *key)
{
    size_t i = 0;

    for (const struct section *s = run_schema.sections; s->name; s++) {
        size_t len = strlen(s->name);

        for (const struct field *f = s->fields; f->key; f++, i++)
            if (!strncmp(key, s->name, len) && key[len] == '.' &&
                !strcmp(key + len + 1, f->key))
                return config->set[i] != 0;
    }
    return 0;
}

int64_t config_heads(const struct model_config *m)
{
    return m->width / m->head_size;
}

int64_t config_kv_heads(const struct model_config *m)
{
    return config_heads(m) / m->kv_group;
}

int64_t config_ffn(const struct model_config *m)
{
    int64_t f = llround(m->ffn_ratio * (double)m->width);

    return f < 1 ? 1 : f;
}

static int check_model(const struct model_config *m, struct mup_error *err)
{
    if (m->width % m->head_size)
        return mup_fail(err, MUP_USAGE,
                        "model.width %lld is not a multiple of "
                        "model.head_size %lld; choose a width that is",
                        (long long)m->width, (long long)m->head_size);
    if (m->head_size % 2)
        return mup_fail(err, MUP_USAGE,
                        "model.head_size %lld is odd; rotary positions need "
                        "an even size",
                        (long long)m->head_size);
    if (config_heads(m) % m->kv_group)
        return mup_fail(err, MUP_USAGE,
                        "model.kv_group %lld does not divide the %lld heads "
                        "(model.width / model.head_size)",
                        (long long)m->kv_group, (long long)config_heads(m));
    if (m->top_k > m->experts)
        return mup_fail(err, MUP_USAGE,
                        "model.top_k %lld is more than model.experts %lld",
                        (long long)m->top_k, (long long)m->experts);
    if (m->top_k == 1 && m->experts > 1 && m->router_renorm)
        return mup_fail(err, MUP_USAGE,
                        "model.router_renorm with model.top_k 1 makes every "
                        "gate 1 and gives the router no gradient; set "
                        "model.router_renorm to no");
    return MUP_OK;
}

struct model_config config_base(const struct run_config *c)
{
    struct model_config base = c->model;

    base.width = c->mup.base_width;
    base.head_size = c->mup.base_head_size;
    if (c->mup.base_kv_group)
        base.kv_group = c->mup.base_kv_group;
    if (c->mup.base_ffn_ratio > 0)
        base.ffn_ratio = c->mup.base_ffn_ratio;
    if (c->mup.base_layers)
        base.layers = c->mup.base_layers;
    if (c->mup.base_experts)
        base.experts = c->mup.base_experts;
    return base;
}

struct mup_rules config_rules(const struct run_config *c)
{
    const struct model_config base = config_base(c);

    return (struct mup_rules){
        .parametrization = c->mup.parametrization,
        .optimizer = c->train.optimizer,
        .decay = c->train.decay_mode,
        .form = c->mup.form,
        .depth = c->mup.depth,
        .moe = c->mup.moe,
        .gqa = c->mup.gqa,
        .muon = c->train.muon,
        .atan2 = c->train.atan2,
        .broken = c->mup.broken,
        .layers = { c->model.layers, base.layers },
        .experts = { c->model.experts, base.experts },
        .group = { c->model.kv_group, base.kv_group },
    };
}

int config_duration(const struct run_config *c, struct mup_duration *out,
                    struct mup_error *err)
{
    double batch, steps, seq = 1;

    if (!c->mup.duration) {
        *out = (struct mup_duration){ 1, 1, 1, 1, 1 };
        return MUP_OK;
    }
    if (c->mup.base_seq)
        seq = (double)c->model.seq / (double)c->mup.base_seq;
    batch = seq * (double)c->train.batch / (double)c->mup.base_batch;
    steps = (double)c->train.steps / (double)c->mup.base_steps;
    return mup_duration_scale(batch, batch * steps, c->mup.duration_exponent,
                              out, err);
}

static int check_duration(const struct run_config *c, struct mup_error *err)
{
    struct mup_duration d;
    double least = fmin(c->train.beta1, c->train.beta2);
    int rc;

    if (!c->mup.duration)
        return MUP_OK;
    if (!c->mup.base_batch || !c->mup.base_steps)
        return mup_fail(err, MUP_USAGE,
                        "mup.duration sde needs mup.base_batch and "
                        "mup.base_steps, the proxy's train.batch and "
                        "train.steps");
    if (c->train.optimizer == MUP_SGD)
        return mup_fail(err, MUP_USAGE,
                        "mup.duration sde is a rule for adaptive optimizers; "
                        "train.optimizer sgd has none here");
    rc = config_duration(c, &d, err);
    if (rc)
        return rc;
    if (1 - (1 - least) * d.one_minus_beta < 0)
        return mup_fail(err, MUP_USAGE,
                        "mup.duration sde makes a beta of Adam negative: 1 - "
                        "beta grows %g times; lower train.batch or raise "
                        "train.beta1 and train.beta2",
                        d.one_minus_beta);
    return MUP_OK;
}

/* Whether rules hold together for a tensor of each kind. */
static int check_roles(const struct mup_rules *rules, struct mup_error *err)
{
    static const struct mup_shape shapes[] = {
        { "hidden", MUP_HIDDEN, { 1, 1 }, { 1, 1 } },
        { "router", MUP_ROUTER, { 1, 0 }, { 1, 1 } },
        { "up", MUP_EXPERT_UP, { 1, 1 }, { 1, 1 } },
    };
    struct mup_scale scale;
    int rc = MUP_OK;

    for (int i = 0; !rc && i < 3; i++)
        rc = mup_scale(rules, &shapes[i], &scale, err);
    return rc;
}

/* The key whose value is refused even beside AdamW and no other rule; the
 * optimizer, if it takes two to be refused.  In libmup's own order. */
static const char *key_at_fault(const struct mup_rules *rules)
{
    const struct mup_rules plain = { .parametrization = rules->parametrization,
                                     .layers = rules->layers,
                                     .experts = rules->experts };
    struct mup_rules form = plain, moe = plain, depth = plain, group = plain;

    form.form = rules->form;
    moe.moe = rules->moe;
    depth.depth = rules->depth;
    group.gqa = rules->gqa;
    group.group = rules->group;
    return check_roles(&form, NULL)    ? "mup.form"
           : check_roles(&moe, NULL)   ? "mup.moe"
           : check_roles(&depth, NULL) ? "mup.depth"
           : check_roles(&group, NULL) ? "model.kv_group"
                                       : "train.optimizer";
}

/* Names the key at fault where libmup names the rule. */
static int check_rules(const struct run_config *c, struct mup_error *err)
{
    const struct mup_rules rules = config_rules(c);
    int rc;

    if (c->mup.depth && !c->mup.base_layers)
        return mup_fail(err, MUP_USAGE,
                        "mup.depth %s needs mup.base_layers, the proxy's "
                        "model.layers",
                        mup_depth_name(c->mup.depth));
    if (c->mup.moe && !c->mup.base_experts)
        return mup_fail(err, MUP_USAGE,
                        "mup.moe %s needs mup.base_experts, the proxy's "
                        "model.experts",
                        mup_moe_name(c->mup.moe));
    if (c->train.optimizer == MUP_ADAM && c->train.weight_decay > 0)
        return mup_fail(err, MUP_USAGE,
                        "train.optimizer adam with train.weight_decay would "
                        "put the decay into the gradient, for which no width "
                        "rule holds; use adamw");
    if (c->train.atan2 &&
        (c->train.optimizer == MUP_SGD || c->train.optimizer == MUP_LION))
        return mup_fail(err, MUP_USAGE,
                        "train.atan2 is an option of Adam; train.optimizer %s "
                        "has no such quotient",
                        mup_optimizer_name(c->train.optimizer));
    if (c->mup.form == MUP_TABLE3 && c->model.tied)
        return mup_fail(err, MUP_USAGE,
                        "mup.form table3 cannot serve model.tied: the table "
                        "is an input too; use table8 or table9");
    rc = check_roles(&rules, err);
    if (rc)
        mup_error_prefix(err, "%s: ", key_at_fault(&rules));
    return rc;
}

static int check_base(const struct run_config *c, struct mup_error *err)
{
    const struct model_config base = config_base(c);

    if (base.width % base.head_size)
        return mup_fail(err, MUP_USAGE,
                        "mup.base_width %lld is not a multiple of "
                        "mup.base_head_size %lld",
                        (long long)base.width, (long long)base.head_size);
    if (config_heads(&base) % base.kv_group)
        return mup_fail(err, MUP_USAGE,
                        "mup.base_width %lld gives %lld heads, which "
                        "%s %lld does not divide",
                        (long long)base.width, (long long)config_heads(&base),
                        c->mup.base_kv_group ? "mup.base_kv_group"
                                             : "model.kv_group",
                        (long long)base.kv_group);
    return MUP_OK;
}

int run_config_check(const struct run_config *c, struct mup_error *err)
{
    struct checkpoint_policy policy;
    struct drill drill;
    int rc = check_model(&c->model, err);

    if (rc)
        return rc;
    rc = check_base(c, err);
    if (!rc)
        rc = check_rules(c, err);
    if (!rc)
        rc = check_duration(c, err);
    if (rc)
        return rc;
    if ((double)c->train.steps * (double)c->train.batch * (double)c->model.seq >
        4e18)
        return mup_fail(err, MUP_USAGE,
                        "train.steps times train.batch times model.seq is "
                        "more than 4e18 tokens");
    if (c->train.micro_batch && c->train.batch % c->train.micro_batch)
        return mup_fail(err, MUP_USAGE,
                        "train.batch %lld is not a multiple of "
                        "train.micro_batch %lld",
                        (long long)c->train.batch,
                        (long long)c->train.micro_batch);
    if (c->train.schedule == SCHEDULE_WSD &&
        c->train.warmup + c->train.decay > 1)
        return mup_fail(err, MUP_USAGE,
                        "train.warmup %g and train.decay %g sum to more than "
                        "the whole run",
                        c->train.warmup, c->train.decay);
    if (c->mup.zero_readout && c->model.tied)
        return mup_fail(err, MUP_USAGE,
                        "mup.zero_readout with model.tied would zero the "
                        "embedding; switch one of them off");
    rc = checkpoint_policy_parse(&c->checkpoint, &policy, err);
    return rc ? rc : drill_parse(&c->drill, &drill, err);
}

static int apply_override(struct run_config *config, const char *override,
                          struct mup_error *err)
{
    char key[CONFIG_KEY_BYTES];
    const char *value;
    int rc = config_split(override, key, &value, err);

    return rc ? rc : config_set(&run_schema, config, key, value, err);
}

int run_config_read(const char *path, char *const *overrides, int n_overrides,
                    struct run_config *out, struct mup_error *err)
{
    struct run_config config;
    int rc = MUP_OK;

    memset(&config, 0, sizeof(config));
    config_defaults(&run_schema, &config);
    if (path)
        rc = config_load(&run_schema, &config, path, err);
    for (int i = 0; !rc && i < n_overrides; i++)
        rc = apply_override(&config, overrides[i], err);
    if (!rc)
        *out = config;
    return rc;
}

/* The line of "section.key" in a YAML file, 0 if it is not there. */
static int line_of(const char *path, const char *key)
{
    const char *dot = strchr(key, '.');
    const struct yaml_node *node = NULL;
    struct yaml_doc doc;
    char section[64];
    int line = 0;

    if (!dot || (size_t)(dot - key) >= sizeof(section) ||
        yaml_open(path, &doc, NULL) != MUP_OK)
        return 0;
    memcpy(section, key, (size_t)(dot - key));
    section[dot - key] = '\0';
    if (doc.root && doc.root->kind == YAML_MAP)
        node = yaml_get(doc.root, section);
    if (node && node->kind == YAML_MAP)
        node = yaml_get(node, dot + 1);
    if (node)
        line = node->line;
    yaml_close(&doc);
    return line;
}

/* Say where the key at fault, the first word of the sentence, was given: by
 * the last flag that sets it, or in the file. */
static void add_place(const char *path, char *const *overrides, int n_overrides,
                      struct mup_error *err)
{
    char key[128];
    size_t n;
    int line;

    if (!err)
        return;
    snprintf(key, sizeof(key), "%.127s", err->text);
    n = strcspn(key, " :");
    key[n] = '\0';
    for (int i = n_overrides - 1; i >= 0; i--) {
        if (!strncmp(overrides[i], key, n) && overrides[i][n] == '=') {
            mup_error_prefix(err, "--%s: ", overrides[i]);
            return;
        }
    }
    line = path ? line_of(path, key) : 0;
    if (line)
        mup_error_prefix(err, "%s:%d: ", path, line);
    else if (path)
        mup_error_prefix(err, "%s: ", path);
}

int run_config_load(const char *path, char *const *overrides, int n_overrides,
                    struct run_config *out, struct mup_error *err)
{
    struct run_config config;
    int rc = run_config_read(path, overrides, n_overrides, &config, err);

    if (!rc) {
        rc = config_require(&run_schema, &config, err);
        if (!rc)
            rc = run_config_check(&config, err);
        if (rc)
            add_place(path, overrides, n_overrides, err);
    }
    if (!rc)
        *out = config;
    return rc;
}
