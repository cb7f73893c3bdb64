# Targets for people, included by the Makefile.

# Dependency files come from the compiler; nothing makes them.
%.d: ;

TEST_SH := $(wildcard tests/*.sh)
TEST_SH := $(filter-out tests/lint.sh tests/run.sh,$(TEST_SH))
# On a cluster that they start.  `make test` runs the first two, the second one
# in part.
SLURM_SH := tests/slurm/test_cluster.sh tests/slurm/test_recover.sh
SLURM_SH += $(filter-out $(SLURM_SH),$(wildcard tests/slurm/test_*.sh))

setup: ## install the Debian packages that are missing
	@launcher/setup.sh build

# After setup make starts anew: the compiler may have just come.
quickstart: export CORPUS := $(CORPUS)
quickstart: setup ## the whole story on a CPU in 5 minutes [CORPUS=FOLDER]
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@MUTRANSFER=$(BIN) launcher/quickstart.sh $(if $(CORPUS),"$$CORPUS")

corpus: all ## prepare the debdoc corpus (67 MB to fetch)
	@MUTRANSFER=$(BIN) configs/corpus.sh debdoc

test: ## build and run all tests
	@launcher/setup.sh build cluster
	@$(MAKE) --no-print-directory -j$(shell nproc) build-tests
	@tests/run.sh $(B) $(TEST_BIN) $(TEST_SH) $(wordlist 1,2,$(SLURM_SH))

check: test

.PHONY: build-tests test-unit soak-slurm
build-tests: $(BIN) $(B)/libmup.a $(TEST_BIN) $(BENCH_BIN)

test-unit: ## build and run the unit tests alone [T=test_name ...]
	@$(MAKE) --no-print-directory -j$(shell nproc) build-tests
	@tests/run.sh $(B) $(if $(T),$(T:%=$(B)/tests/%),$(TEST_BIN))

soak: ## the long tests: kill loops, statistical coverage, faults of a cluster
	@launcher/setup.sh build cluster
	@$(MAKE) --no-print-directory -j$(shell nproc) build-tests
	@MUTRANSFER_SOAK=1 TEST_TIMEOUT=3600 tests/run.sh $(B) $(TEST_BIN) \
	    tests/transfer_ranks.sh
	@$(MAKE) --no-print-directory soak-slurm

# One at a time: recovery has limits in seconds.
soak-slurm: $(BIN) ## of soak, what runs on a real SLURM cluster
	@launcher/setup.sh build cluster
	@MUTRANSFER_SOAK=1 TEST_JOBS=1 TEST_TIMEOUT=1800 tests/run.sh $(B) $(SLURM_SH)

# The code that runs in threads is compiled for it, all else comes from the
# library: nothing there is called from a second thread.
TSAN_SRC := tests/test_saver.c $(wildcard model/saver*.c model/checkpoint*.c) \
    model/file.c model/fence.c
tsan: $(B)/libmutransfer.a ## the saver under ThreadSanitizer
	@mkdir -p build/tsan/tests
	$(call say,CC,'tests/test_saver.c (thread)')$(CC) $(ALL_CFLAGS) \
	    -fsanitize=thread -o build/tsan/tests/test_saver $(TSAN_SRC) $< \
	    -lcmocka $(LIBS)
	@tests/run.sh build/tsan build/tsan/tests/test_saver

lint: ## format, static analysis and the rules of the house
	@launcher/setup.sh build lint
	@$(MAKE) --no-print-directory -j$(shell nproc) all compile_commands.json
	@tests/lint.sh $(B)

bench: ## speed against this machine's own limit
	@$(MAKE) --no-print-directory all $(BENCH_BIN)
	@for b in $(filter-out %/bench_parallel,$(BENCH_BIN)); do $$b || exit; done

bench-parallel: ## what ranks and checkpoints cost, as shares
	@$(MAKE) --no-print-directory $(B)/tests/bench_parallel
	@$(B)/tests/bench_parallel

# ---- fuzzing: make fuzz T=60 (seconds each) --------------------------------------
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=build/fuzz/%)
FUZZ_LIB := $(LIB_SRC) $(VERB_SRC)
FUZZ_CFLAGS := -std=c11 -D_POSIX_C_SOURCE=200809L -I. -O1 -g \
    -fsanitize=fuzzer-no-link,address,undefined \
    -DMUTRANSFER_VERSION='"$(VERSION)"' -DMUTRANSFER_REVISION='"fuzz"' \
    -DMUTRANSFER_COMPILER='"clang"'
FUZZ_OBJ := $(FUZZ_LIB:%.c=build/fuzz/%.o) build/fuzz/model/cpu/ref-f32.o \
    build/fuzz/model/cpu/ref-f64.o build/fuzz/model/cpu/fast-v2.o \
    build/fuzz/model/cpu/fast-v3.o build/fuzz/model/cpu/fast-v4.o

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)clang $(FUZZ_CFLAGS) -c $< -o $@
build/fuzz/model/cpu/ref-f32.o: model/cpu/ref.c
	@mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS) -DREF_REAL=float -c $< -o $@
build/fuzz/model/cpu/ref-f64.o: model/cpu/ref.c
	@mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS) -DREF_REAL=double -c $< -o $@
build/fuzz/model/cpu/fast-%.o: model/cpu/fast.c
	@mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS) -march=x86-64-$* -DFAST_ISA=$* -c $< -o $@
build/fuzz/libmutransfer.a: $(FUZZ_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^
build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/libmutransfer.a
	$(call say,FUZZ,$<)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< \
	    build/fuzz/libmutransfer.a $(LIBS)

fuzz: ## every fuzz target for T seconds (60)
	@launcher/setup.sh build fuzz
	@$(MAKE) --no-print-directory -j$(shell nproc) $(FUZZ_BIN)
	@set -e; for f in $(FUZZ_BIN); do name=$${f##*/fuzz_}; \
	    mkdir -p build/fuzz/corpus/$$name; \
	    seeds=; [ ! -d tests/fuzz/$$name ] || seeds=tests/fuzz/$$name; \
	    echo "fuzzing $$name"; \
	    $$f -max_total_time=$(or $(T),60) -verbosity=0 -print_final_stats=1 \
	        -artifact_prefix=build/fuzz/crash-$$name- \
	        build/fuzz/corpus/$$name $$seeds; done

# ---- documents -------------------------------------------------------------------
docs: $(BIN) ## write the generated references anew
	@$(BIN) help cli-reference >docs/cli.md
	@$(BIN) help config >docs/config.md
	@$(BIN) help rules-reference >docs/lint.md

compile_commands.json: ## for clang tools and editors
	@$(MAKE) --no-print-directory -Bn V=1 all 2>/dev/null | \
	    awk -v dir='$(CURDIR)' -f tests/compile_commands.awk >$@

# ---- installation ----------------------------------------------------------------
DESTDIR ?=
INCLUDE := $(DESTDIR)$(PREFIX)/include/mup
LIBDIR  := $(DESTDIR)$(PREFIX)/lib

install: all ## install the program and libmup [PREFIX= DESTDIR=]
	install -d $(DESTDIR)$(PREFIX)/bin $(INCLUDE) $(LIBDIR)/pkgconfig \
	    $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/
	install -m 644 mup/mup.h mup/coord.h $(INCLUDE)/
	install -m 644 $(B)/libmup.a $(LIBDIR)/
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: mup' \
	    'Description: the maximal update parametrization as a table' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' \
	    'Libs: -L$${prefix}/lib -lmup -lm' >$(LIBDIR)/pkgconfig/mup.pc
	$(BIN) help man >$(DESTDIR)$(PREFIX)/share/man/man1/mutransfer.1
