/* What a way to SLURM provides.  cluster.c has checked the arguments and does
 * all that is the same for both: it chooses among jobs, joins the tasks of an
 * array, finds partitions and merges lists of excluded nodes. */
#ifndef LAUNCHER_CLUSTER_OPS_H
#define LAUNCHER_CLUSTER_OPS_H

#include "launcher/cluster.h"

/* Lists: takes, free(). */
struct cluster_jobs {
    int n;
    struct cluster_job *job;
};

struct cluster_nodes {
    int n;
    struct cluster_node *node;
};

struct cluster_part {
    struct cluster_partition info;
    char *nodes; /* hostlist; takes */
};

struct cluster_parts {
    int n;
    struct cluster_part *part;
};

struct cluster_ops {
    const char *name;
    void (*close)(struct cluster *c);
    int (*submit)(struct cluster *c, const struct cluster_request *request,
                  int64_t *id, struct mup_error *err);
    /* All of this user: id, state and comment are enough. */
    int (*own_jobs)(struct cluster *c, struct cluster_jobs *out,
                    struct mup_error *err);
    /* One, or every task of an array; none: MUP_OK. */
    int (*job)(struct cluster *c, int64_t id, struct cluster_jobs *out,
               struct mup_error *err);
    int (*cancel)(struct cluster *c, int64_t id, struct mup_error *err);
    int (*signal)(struct cluster *c, int64_t id, int number,
                  struct mup_error *err);
    int (*requeue)(struct cluster *c, int64_t id, struct mup_error *err);
    /* Of a pending job.  takes: free(*out), "" for none. */
    int (*excluded)(struct cluster *c, int64_t id, char **out,
                    struct mup_error *err);
    int (*exclude)(struct cluster *c, int64_t id, const char *nodes,
                   struct mup_error *err);
    int (*nodes)(struct cluster *c, struct cluster_nodes *out,
                 struct mup_error *err);
    int (*partitions)(struct cluster *c, struct cluster_parts *out,
                      struct mup_error *err);
    int (*drain)(struct cluster *c, const char *node, const char *reason,
                 struct mup_error *err);
};

struct cluster {
    const struct cluster_ops *ops;
};

/* slurm.c; conf: path of slurm.conf, which must be readable: the library ends
 * the process where it finds none.  MUP_USAGE in a build without it. */
int slurm_open(const char *conf, struct cluster **out, struct mup_error *err);
/* slurm_tools.c; MUP_SYSTEM where they are not installed. */
int slurm_tools_open(struct cluster **out, struct mup_error *err);

void cluster_free_parts(struct cluster_parts *p);

/* out[bytes] = text, cut; NULL and SLURM's "(null)" are "". */
void cluster_copy_text(char *out, size_t bytes, const char *text);

/* Numbers for submission: SLURM counts minutes and MiB, a part of one counts
 * whole. */
int64_t cluster_minutes(const struct cluster_request *r);
int64_t cluster_memory_mib(const struct cluster_request *r);

/* The caller's variables, but for those of the job that it runs in itself and
 * those that change what SLURM's tools do; SLURM_CONF stays.  extra:
 * "NAME=VALUE" or NULL at the end.  takes: free(*out), a pointer array alone.
 */
int cluster_environment(const char *const *extra, char ***out,
                        struct mup_error *err);

#endif
