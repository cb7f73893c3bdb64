/* The run config: everything that defines one training run.  Each section is
 * a struct and a field table (config.c); YAML, flags, help and the resolved
 * dump come from the tables. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "configs/field.h"

/* The network (docs/architecture.md). */
struct model_config {
    int64_t width;     /* D */
    int64_t layers;    /* L */
    int64_t head_size; /* K */
    int64_t kv_group;  /* query heads per key/value head, H / G */
    double ffn_ratio;  /* F / D */
    int64_t experts;   /* E */
    int64_t top_k;     /* k */
    int64_t vocab;     /* V */
    int64_t seq;       /* T */
    int tied;          /* unembedding is the embedding table */
    double attn_softcap;
    double router_softcap;
    int router_renorm;
    double rope_base;
    double norm_eps;
    int qk_norm;       /* RMSNorm of every query and key head */
    int shared_expert; /* one more expert, used by every token */
};

/* The parametrization and its width-independent multipliers. */
struct mup_config {
    int parametrization; /* enum mup_parametrization */
    int form;            /* enum mup_form */
    int64_t base_width;
    int64_t base_head_size;
    int64_t base_kv_group; /* this and the next three: 0 = as in model */
    double base_ffn_ratio;
    int64_t base_layers;
    int64_t base_experts;
    int depth;       /* enum mup_depth */
    int moe;         /* enum mup_moe */
    int gqa;         /* enum mup_gqa */
    double init_std; /* of every matrix at base width */
    double emb_mult;
    double attn_mult;
    double out_mult;
    double router_mult;
    int zero_readout;
    int zero_query;
    int duration; /* 1: SDE rules of batch size and number of tokens */
    int64_t base_batch, base_steps, base_seq;
    double duration_exponent;
    int broken; /* enum mup_break */
};

enum schedule_kind {
    SCHEDULE_CONSTANT,
    SCHEDULE_COSINE,
    SCHEDULE_LINEAR,
    SCHEDULE_WSD,
};

struct train_config {
    int64_t steps;
    int64_t batch;       /* sequences per optimizer step */
    int64_t micro_batch; /* sequences per forward pass, 0 = batch */
    int optimizer;       /* enum mup_optimizer */
    double lr;
    double beta1, beta2, eps;
    int atan2;       /* Adam-atan2 */
    double momentum; /* sgd, muon */
    int muon;        /* enum mup_muon */
    double muon_adam_lr;
    double weight_decay;
    int decay_mode;  /* enum mup_decay */
    double clip;     /* global gradient norm, 0 = off */
    int schedule;    /* enum schedule_kind */
    double warmup;   /* fraction of steps */
    double decay;    /* fraction of steps that WSD spends falling */
    double final_lr; /* fraction of the peak at the end */
    double z_loss;
    double router_z_loss;
    double balance_loss;
    int64_t seed;
    double diverge_after; /* fraction of steps before the loss test starts */
    double spike_limit;   /* gradient norms over the median, 0 = off */
};

struct data_config {
    char train[FIELD_TEXT_BYTES]; /* shard path, or "synthetic" */
    char valid[FIELD_TEXT_BYTES];
    int64_t valid_sequences; /* held-out sequences per evaluation */
};

struct run_section {
    char backend[FIELD_TEXT_BYTES];
    int64_t log_every;    /* steps */
    int64_t eval_every;   /* steps, 0 = at the end only */
    int64_t verify_every; /* steps whose gradients are computed twice, 0 = no
                             look for silent corruption at all (guard.h) */
};

/* The texts are parsed by checkpoint_policy.h. */
struct checkpoint_config {
    char every[FIELD_TEXT_BYTES]; /* "200", "10 min", "auto", "0" */
    char keep[FIELD_TEXT_BYTES];  /* "last 2", "last 3, every 1000" */
    double quota_gib;             /* 0 = none */
    double mtbf_hours;            /* of the whole job, for auto */
};

/* Ranks along each way of sharing the work (layout.h); 0: auto. */
struct parallel_config {
    int64_t data, expert, tensor;
    double deadline_s; /* of one message, until a rank counts as lost */
};

/* Faults on purpose (drill.h); "" = none. */
struct drill_config {
    char kill[FIELD_TEXT_BYTES];
    char stop[FIELD_TEXT_BYTES];
    char slow[FIELD_TEXT_BYTES];
    char flip[FIELD_TEXT_BYTES];
    char slow_write[FIELD_TEXT_BYTES];
    char fail_write[FIELD_TEXT_BYTES];
    char fill_disk[FIELD_TEXT_BYTES];
    char preflight[FIELD_TEXT_BYTES];
};

struct launch_config {
    int64_t local; /* ranks on this machine */
};

/* What is asked of SLURM (docs/slurm.md); 0 and "": as the site has it. */
struct slurm_config {
    int64_t nodes;          /* that train */
    int64_t spares;         /* and stand by */
    int64_t ranks_per_node; /* or workers, of a sweep */
    int64_t cpus_per_rank;
    int64_t gpus_per_node;
    double memory_gib; /* per node */
    double time_min;   /* of one job */
    double signal_s;   /* before its end that state is saved, 0: auto */
    int64_t requeues;
    char partition[FIELD_TEXT_BYTES];
    char account[FIELD_TEXT_BYTES];
    char qos[FIELD_TEXT_BYTES];
    char constraint[FIELD_TEXT_BYTES];
    char exclude[FIELD_TEXT_BYTES];
    char setup[FIELD_TEXT_BYTES]; /* file that the batch script sources */
    int by;                       /* enum slurm_by */
    int array;
};

enum slurm_by { SLURM_AUTO, SLURM_LIBSLURM, SLURM_TOOLS };

/* How faults are answered (docs/slurm.md). */
struct recover_config {
    int64_t attempts; /* restarts without a newer checkpoint */
    int64_t progress; /* steps by which it must be newer */
    double node_s;    /* silence of a node */
    double setup_s;   /* until the first step */
    double join_s;    /* until ranks that are all there have met */
    double step_s;    /* between two beats, 0: auto */
    double checkpoint_s;
    double lease_s; /* a rank without its supervisor stops itself */
    int preflight;
    double preflight_s;
    int64_t strikes; /* faults of one node until it is ejected */
    double eject_h;
    int64_t max_ejected; /* 0: auto */
    char exclude_file[FIELD_TEXT_BYTES];
};

struct run_config {
    struct model_config model;
    struct mup_config mup;
    struct train_config train;
    struct data_config data;
    struct run_section run;
    struct checkpoint_config checkpoint;
    struct parallel_config parallel;
    struct launch_config launch;
    struct slurm_config slurm;
    struct recover_config recover;
    struct drill_config drill;
    unsigned char set[192]; /* which keys were given; see struct schema */
};

extern const struct schema run_schema;

/* Defaults, then the file at path (may be NULL), then overrides "key=value" in
 * order.  Errors carry file:line or the flag.  Neither required keys nor
 * cross-key rules are checked: a target without its learning rate is read
 * with this. */
int run_config_read(const char *path, char *const *overrides, int n_overrides,
                    struct run_config *out, struct mup_error *err);

/* run_config_read, then config_require and run_config_check. */
int run_config_load(const char *path, char *const *overrides, int n_overrides,
                    struct run_config *out, struct mup_error *err);

/* Cross-key checks: head counts that divide, top_k <= experts, ...  The
 * sentence begins with the key at fault, so that a caller can add its place. */
int run_config_check(const struct run_config *config, struct mup_error *err);

/* Nonzero where key was given in the file or on the command line. */
int run_config_given(const struct run_config *config, const char *key);

/* Derived sizes. */
int64_t config_heads(const struct model_config *m);    /* H = D / K */
int64_t config_kv_heads(const struct model_config *m); /* G = H / kv_group */
int64_t config_ffn(const struct model_config *m);      /* F */

/* The same network at base size, and the rules that the config asks for. */
struct model_config config_base(const struct run_config *config);
struct mup_rules config_rules(const struct run_config *config);

/* Factors of the duration rules, all 1 where they are off. */
int config_duration(const struct run_config *config, struct mup_duration *out,
                    struct mup_error *err);

#endif
