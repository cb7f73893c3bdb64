# mutransfer: GNU make, no configure step.  `make help` lists the targets.
#
#   SAN=1     AddressSanitizer and UndefinedBehaviorSanitizer, in build/san
#   WERROR=1  warnings are errors (developers and CI)
#   MPI=0     without ranks over MPI
#   SLURM=0   without libslurm: jobs are submitted by SLURM's tools
#   V=1       show the commands

.DEFAULT_GOAL := all
SHELL := /bin/bash
CC ?= gcc
PREFIX ?= /usr/local

# ---- what is built where -----------------------------------------------------
ifeq ($(SAN),1)
B := build/san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined \
            -fno-omit-frame-pointer
else
B := build
endif

# What must be installed: header and Debian package (launcher/setup.sh installs
# the same).  No pkg-config: oneDNN and NLopt of Debian 12 ship no file for it.
REQUIRED := yaml.h:libyaml-dev jansson.h:libjansson-dev dnnl.h:libdnnl-dev \
            lapacke.h:liblapacke-dev cblas.h:libopenblas-dev \
            sqlite3.h:libsqlite3-dev xxhash.h:libxxhash-dev
LIBS := -lyaml -ljansson -ldnnl -llapacke -lopenblas -lsqlite3 \
        -lxxhash -lm -pthread

# Ranks over MPI where it is installed; MPI=0 builds without.
ifneq ($(MPI),0)
HAVE_MPI := $(shell command -v mpicc >/dev/null 2>&1 && echo yes)
endif
ifeq ($(HAVE_MPI),yes)
MPI_CFLAGS := -DHAVE_MPI $(shell mpicc --showme:compile)
LIBS += $(shell mpicc --showme:link)
endif

# Jobs through SLURM's library where its header is; SLURM=0 builds without.
# libslurm is GPL-2.0-or-later: a program with it is distributed under the GPL.
ifneq ($(SLURM),0)
HAVE_SLURM := $(shell echo '\#include <slurm/slurm.h>' | $(CC) -E -x c - >/dev/null 2>&1 && echo yes)
endif
ifeq ($(HAVE_SLURM),yes)
SLURM_CFLAGS := -DHAVE_SLURM
LIBS += -lslurm
endif

VERSION := 0.1.0
REVISION := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

# A member that is not given is 0, and 0 is what it shall mean.
WARN := -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Wshadow \
        -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings -Wundef -Wformat=2
ifeq ($(WERROR),1)
WARN += -Werror
endif
CFLAGS ?= -O3 -g
ALL_CFLAGS = -std=c11 -D_POSIX_C_SOURCE=200809L -I. $(CFLAGS) \
             -fopenmp-simd -fno-math-errno -fno-trapping-math \
             $(WARN) $(SANFLAGS) $(EXTRA_CFLAGS) -MMD -MP
# Numbers from users and files pass through these folders.
STRICT := -Wconversion -Wno-sign-conversion

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2);)

# ---- sources -----------------------------------------------------------------
MUP_SRC      := $(wildcard mup/*.c)
LIB_SRC      := $(MUP_SRC) $(wildcard configs/*.c model/*.c sweep/*.c plots/*.c)
LAUNCHER_SRC := $(wildcard launcher/*.c)
VERB_SRC     := $(filter-out launcher/main.c,$(LAUNCHER_SRC))
TEST_SRC     := $(wildcard tests/test_*.c)
BENCH_SRC    := $(wildcard tests/bench_*.c)

# The same loops for three instruction sets, chosen at start; ref twice, in
# float and in double.  `-ffp-contract=fast` lets the vector loops use FMA;
# `-fno-thread-jumps` keeps clamps selects: threading copies the loop's body for
# the clamped constant, division included, before it is vectorised.
CPU_OBJ := $(B)/model/cpu/ref-f32.o $(B)/model/cpu/ref-f64.o \
           $(B)/model/cpu/fast-v2.o $(B)/model/cpu/fast-v3.o \
           $(B)/model/cpu/fast-v4.o

LIB_OBJ    := $(LIB_SRC:%.c=$(B)/%.o) $(CPU_OBJ)
VERB_OBJ   := $(VERB_SRC:%.c=$(B)/%.o)
MAIN_OBJ   := $(B)/launcher/main.o
TEST_BIN   := $(TEST_SRC:tests/%.c=$(B)/tests/%)
BENCH_BIN  := $(BENCH_SRC:tests/%.c=$(B)/tests/%)
BIN        := $(B)/bin/mutransfer

.PHONY: all features help setup quickstart corpus test check soak lint bench \
        tsan fuzz install clean docs compile_commands.json

all: features $(BIN) $(B)/libmup.a ## build the program and libmup

features:
	@missing=; for r in $(REQUIRED); do \
	    echo "#include <$${r%%:*}>" | $(CC) -E -x c - >/dev/null 2>&1 || \
	        missing="$$missing $${r##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "missing packages:$$missing; 'make setup' installs them" >&2; \
	    exit 1; \
	fi
	@has() { command -v $$1 >/dev/null 2>&1 && echo yes || echo no; }; \
	printf 'features: cpu=yes gnuplot=%s cuda=no mpi=%s slurm=%s%s\n' \
	    "$$(has gnuplot)" "$(or $(HAVE_MPI),no)" \
	    "$(or $(HAVE_SLURM),tools)" "$(if $(SANFLAGS), sanitizers=yes)"

$(LIB_OBJ) $(VERB_OBJ) $(MAIN_OBJ): | features

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/mup/%.o $(B)/configs/%.o $(B)/launcher/%.o: WARN += $(STRICT)
$(B)/launcher/%.o: EXTRA_CFLAGS += -DMUTRANSFER_VERSION='"$(VERSION)"'
$(B)/model/manifest.o: EXTRA_CFLAGS += \
    -DMUTRANSFER_VERSION='"$(VERSION)"' \
    -DMUTRANSFER_REVISION='"$(REVISION)"' \
    -DMUTRANSFER_COMPILER='"$(shell $(CC) --version | head -1)"'

$(B)/model/cpu/ref-f32.o: model/cpu/ref.c
	@mkdir -p $(@D)
	$(call say,CC,'$< (float)')$(CC) $(ALL_CFLAGS) -DREF_REAL=float -c $< -o $@
$(B)/model/cpu/ref-f64.o: model/cpu/ref.c
	@mkdir -p $(@D)
	$(call say,CC,'$< (double)')$(CC) $(ALL_CFLAGS) -DREF_REAL=double -c $< -o $@
$(B)/model/cpu/fast-%.o: model/cpu/fast.c
	@mkdir -p $(@D)
	$(call say,CC,'$< (x86-64-$*)')$(CC) $(ALL_CFLAGS) -march=x86-64-$* \
	    -ffp-contract=fast -fno-thread-jumps -DFAST_ISA=$* -c $< -o $@

$(B)/model/comm_mpi.o: EXTRA_CFLAGS += $(MPI_CFLAGS)
$(B)/launcher/slurm.o: EXTRA_CFLAGS += $(SLURM_CFLAGS)

$(B)/libmup.a: $(MUP_SRC:%.c=$(B)/%.o)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(B)/libmutransfer.a: $(LIB_OBJ) $(VERB_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BIN): $(MAIN_OBJ) $(B)/libmutransfer.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(SANFLAGS) -o $@ $^ $(LIBS)

$(B)/tests/%: tests/%.c $(B)/libmutransfer.a
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -o $@ $< $(B)/libmutransfer.a \
	    -lcmocka $(LIBS)

# ---- targets for people --------------------------------------------------------
-include $(wildcard tests/targets.mk)

help: ## this list
	@awk -F':.*## ' '/^[a-z_.-]+:.*## /{printf "  make %-14s %s\n",$$1,$$2}' \
	    $(MAKEFILE_LIST)

clean: ## remove everything that was built
	rm -rf build

-include $(LIB_OBJ:.o=.d) $(VERB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(TEST_BIN:=.d)
