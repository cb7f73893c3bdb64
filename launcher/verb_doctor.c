#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "launcher/cluster.h"
#include "launcher/command.h"
#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/terminal.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/backend.h"
#include "model/clock.h"
#include "model/comm.h"

static const struct option options[] = {
    OPTION_JSON,
    { 0 },
};

struct findings {
    char cpu[128];
    char backends[128]; /* that this CPU runs */
    char fastest[16];
    long cores;
    double memory_bytes, disk_bytes;
    double gemm_flops;     /* FLOP/s of one core, 512^3 products */
    struct plan_speed run; /* of the default model at width 64 */
    int gnuplot;
    int mpi, mpirun; /* built in; found */
    int slurm_library, slurm_tools;
    int slurm;            /* the status of asking its controller */
    char slurm_by[16];    /* whom */
    char slurm_why[1024]; /* why not */
    int pmix;             /* srun can start ranks over MPI */
};

/* "model name" of /proc/cpuinfo, "" elsewhere. */
static void find_cpu(struct findings *f)
{
    FILE *in = fopen("/proc/cpuinfo", "r");
    char line[256];

    while (in && !f->cpu[0] && fgets(line, sizeof(line), in)) {
        char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(f->cpu, sizeof(f->cpu), "%.120s", colon + 2);
    }
    if (in)
        (void)fclose(in);
}

static void find_backends(struct findings *f)
{
    static const char *const names[] = { "fast-v4", "fast-v3", "fast-v2", "ref",
                                         "ref64" };
    struct backend be;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t used = strlen(f->backends);

        if (backend_open(names[i], &be, NULL) == MUP_OK)
            snprintf(f->backends + used, sizeof(f->backends) - used, "%s%s",
                     used ? " " : "", names[i]);
    }
    if (backend_open("auto", &be, NULL) == MUP_OK)
        snprintf(f->fastest, sizeof(f->fastest), "%s", be.name);
}

static int srun_has_pmix(void)
{
    const char *const words[] = { "srun", "--mpi=list", NULL };
    struct command list = { words, NULL, NULL, 20 };
    struct command_answer answer = { 0 };
    int has;

    if (command_run(&list, &answer, NULL) != MUP_OK)
        return 0;
    has = strstr(answer.output, "pmix") || strstr(answer.errors, "pmix");
    command_answer_clear(&answer);
    return has;
}

static void find_slurm(struct findings *f)
{
    struct mup_error err = { 0 };
    struct cluster *c = NULL;

    f->slurm_library = cluster_has_library();
    f->slurm_tools = path_has_program("sbatch");
    f->slurm = cluster_open(SLURM_AUTO, &c, &err);
    if (f->slurm == MUP_OK) {
        snprintf(f->slurm_by, sizeof(f->slurm_by), "%s", cluster_name(c));
        f->slurm = cluster_ping(c, &err);
        cluster_close(c);
    }
    if (f->slurm == MUP_OK)
        f->pmix = srun_has_pmix();
    else
        snprintf(f->slurm_why, sizeof(f->slurm_why), "%s", err.text);
}

static int measure_gemm(struct findings *f, struct mup_error *err)
{
    enum { N = 512 };
    struct view a, b, c;
    struct backend be;
    double start, elapsed = 0;
    int runs = 0;
    int rc = backend_open("auto", &be, err);

    if (rc != MUP_OK)
        return rc;
    a = view_of(be.ops->alloc(&be, N * N * sizeof(float)), N, N);
    b = view_of(be.ops->alloc(&be, N * N * sizeof(float)), N, N);
    c = view_of(be.ops->alloc(&be, N * N * sizeof(float)), N, N);
    if (!a.data || !b.data || !c.data)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    if (rc == MUP_OK)
        be.ops->gemm(&be, c, a, b, 0, 1, 1, 0); /* warm-up */
    start = clock_s();
    while (rc == MUP_OK && elapsed < 0.2) {
        be.ops->gemm(&be, c, a, b, 0, 1, 1, 0);
        elapsed = clock_s() - start;
        runs++;
    }
    if (rc == MUP_OK)
        f->gemm_flops = 2.0 * N * N * N * runs / elapsed;
    be.ops->free(&be, a.data);
    be.ops->free(&be, b.data);
    be.ops->free(&be, c.data);
    return rc;
}

static int measure_run(struct findings *f, struct mup_error *err)
{
    char lr[] = "train.lr=2^-7", width[] = "model.width=64";
    char base[] = "mup.base_width=64";
    char *overrides[] = { lr, width, base };
    struct run_config config;
    int rc = run_config_load(NULL, overrides, 3, &config, err);

    return rc ? rc : plan_measure(&config, 0.5, &f->run, err);
}

static json_t *findings_json(const struct findings *f)
{
    json_t *o = json_object();

    json_object_set_new(o, "cpu", json_string(f->cpu));
    json_object_set_new(o, "cores", json_integer(f->cores));
    json_object_set_new(o, "memory_bytes", json_number(f->memory_bytes));
    json_object_set_new(o, "disk_bytes", json_number(f->disk_bytes));
    json_object_set_new(o, "backends", json_string(f->backends));
    json_object_set_new(o, "backend", json_string(f->fastest));
    json_object_set_new(o, "gemm_flops_per_s", json_number(f->gemm_flops));
    json_object_set_new(o, "training_flops_per_s",
                        json_number(f->run.flops_per_s));
    json_object_set_new(o, "gnuplot", json_boolean(f->gnuplot));
    json_object_set_new(o, "mpi", json_boolean(f->mpi));
    json_object_set_new(o, "mpirun", json_boolean(f->mpirun));
    json_object_set_new(o, "slurm", json_boolean(f->slurm == MUP_OK));
    json_object_set_new(o, "slurm_library", json_boolean(f->slurm_library));
    json_object_set_new(o, "slurm_tools", json_boolean(f->slurm_tools));
    json_object_set_new(o, "slurm_pmix", json_boolean(f->pmix));
    if (f->slurm != MUP_OK)
        json_object_set_new(o, "slurm_error", json_string(f->slurm_why));
    return o;
}

static void print_slurm(const struct findings *f)
{
    printf("slurm     libslurm %s, tools %s; ",
           f->slurm_library ? "built in" : "not in this build",
           f->slurm_tools ? "found" : "not on PATH");
    if (f->slurm != MUP_OK)
        printf("%s\n", f->slurm_why);
    else
        printf("the controller answers to %s, %s\n", f->slurm_by,
               f->pmix ? "srun has --mpi=pmix"
                       : "but srun has no --mpi=pmix: ranks over MPI cannot "
                         "be started under SLURM");
}

static void print_text(const struct findings *f)
{
    printf("cpu       %s, %ld cores\n", f->cpu[0] ? f->cpu : "unknown",
           f->cores);
    printf("memory    %s\n", units_bytes(f->memory_bytes).text);
    printf("disk      %s free here\n", units_bytes(f->disk_bytes).text);
    printf("backends  %s ('auto' takes %s)\n", f->backends, f->fastest);
    printf("speed     %s of one core in matrix products, %s in training at "
           "width 64\n",
           units_si(f->gemm_flops, "FLOP/s").text,
           units_si(f->run.flops_per_s, "FLOP/s").text);
    printf("gnuplot   %s\n", f->gnuplot
                                 ? "yes"
                                 : "missing: reports have no pictures (apt-get "
                                   "install gnuplot-nox)");
    printf("mpi       %s\n",
           !f->mpi ? "not in this build: one rank only ('make setup', then "
                     "'make', builds it in)"
           : f->mpirun
               ? "yes"
               : "built in, but mpirun is missing: 'launch --local N' cannot "
                 "start ranks (apt-get install openmpi-bin)");
    print_slurm(f);
    printf("cuda      not in this version\n");
}

static int run(const struct args *args, struct mup_error *err)
{
    struct findings f = { 0 };
    struct statvfs disk;
    int rc;

    find_cpu(&f);
    find_backends(&f);
    f.cores = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef _SC_PHYS_PAGES
    f.memory_bytes =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
#endif
    if (statvfs(".", &disk) == 0)
        f.disk_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    f.mpi = comm_has_mpi();
    f.mpirun = path_has_program("mpirun");
    f.gnuplot = path_has_program("gnuplot");
    find_slurm(&f);
    rc = measure_gemm(&f, err);
    if (rc == MUP_OK)
        rc = measure_run(&f, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json"))
        return json_print(findings_json(&f), err);
    print_text(&f);
    return MUP_OK;
}

const struct verb verb_doctor = {
    "doctor",
    "",
    0,
    0,
    0,
    "what this machine can do, what is missing, how fast it is",
    "Measures this machine for a second: cores, memory, instruction sets, "
    "speed\n"
    "of matrix products and of training.",
    "mutransfer doctor",
    options,
    run,
};
