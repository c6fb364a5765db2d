/* qdq-mpi: qdq quantize and qdq roundtrip by all ranks of an MPI job, which share one disk.
 *
 * The work is cut into many more parts of equal cost than there are ranks. A rank that has room takes the next number
 * from a counter on rank 0, so that slow ranks get fewer. When one has failed, the counter is set to the end: the
 * others finish the part that they have, and nobody joins. All that is written is written as --part does it, so a job
 * that was killed or has failed goes on with --resume, by MPI or without. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/part.h"

enum { PARTS_OF_A_RANK = 16 };

const qdq_cli_command *const qdq_cli_commands[] = {&qdq_cli_quantize, &qdq_cli_roundtrip, NULL};

static struct {
    int rank, ranks;
    uint32_t parts;
    MPI_Win window; /* rank 0's counter: the parts that were given away */
    bool settled;
} job;

/* ---- The counter ------------------------------------------------------------------------------------------------ */

static uint32_t next_part(void *context) {
    (void)context;
    const unsigned long long one = 1;
    unsigned long long taken = 0;
    MPI_Fetch_and_op(&one, &taken, MPI_UNSIGNED_LONG_LONG, 0, 0, MPI_SUM, job.window);
    MPI_Win_flush(0, job.window);
    return taken < job.parts ? (uint32_t)taken + 1 : 0;
}

/* Nobody gets another part. */
static void stop_all(void) {
    const unsigned long long end = UINT32_MAX;
    unsigned long long taken = 0;
    MPI_Fetch_and_op(&end, &taken, MPI_UNSIGNED_LONG_LONG, 0, 0, MPI_REPLACE, job.window);
    MPI_Win_flush(0, job.window);
}

/* ---- The end ---------------------------------------------------------------------------------------------------- */

/* Every rank comes here once, whatever has become of it: true if all went well, and the output has its name. path: of
 * the output, NULL where it is not known, which is a failure. */
static qdq_status settle(qdq_status status, const char *path) {
    int well = status == QDQ_OK && path != NULL, all = 0, joined = 0;
    if (job.settled) return status;
    job.settled = true;
    if (!well) stop_all();
    MPI_Allreduce(&well, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (!all)
        return status != QDQ_OK
                   ? status
                   : qdq_fail(QDQ_IO_ERROR, "another rank has failed, and says why; what is done stays, and "
                                            "--resume goes on with it");
    if (job.rank == 0) status = qdq_join(path, NULL, NULL);
    joined = status == QDQ_OK;
    MPI_Bcast(&joined, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (joined || job.rank == 0) return status;
    return qdq_fail(QDQ_IO_ERROR, "rank 0 could not join the parts, and says why");
}

static int usage(void) {
    if (job.rank == 0)
        fputs("Usage: mpirun [OPTION]... qdq-mpi quantize|roundtrip [OPTION]... as for qdq, without --part\n"
              "All ranks share the work through one disk, and rank 0 gives the output its name.\n",
              stderr);
    return QDQ_EXIT_USAGE;
}

static int run(int argc, char **argv) {
    for (const qdq_cli_command *const *c = qdq_cli_commands; argc > 1 && *c != NULL; c++)
        if (strcmp((*c)->name, argv[1]) == 0) return (*c)->run(argc - 1, argv + 1);
    return usage();
}

int main(int argc, char **argv) {
    int provided;
    unsigned long long *counter = NULL;
    qdq_json_begin();
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) return QDQ_EXIT_FAILED;
    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job.ranks);
    job.parts = (uint32_t)job.ranks * PARTS_OF_A_RANK;
    MPI_Win_allocate(job.rank == 0 ? sizeof *counter : 0, sizeof *counter, MPI_INFO_NULL, MPI_COMM_WORLD, &counter,
                     &job.window);
    if (job.rank == 0) *counter = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_lock_all(0, job.window);
    qdq_part_share(&(qdq_sharing){.parts = job.parts, .silent = job.rank > 0, .next = next_part, .finish = settle});
    int status = run(argc, argv);
    /* A rank that came to no output, since its command line is wrong or its input cannot be opened, is waited for. */
    bool early = !job.settled;
    settle(early ? QDQ_IO_ERROR : QDQ_OK, NULL);
    MPI_Win_unlock_all(job.window);
    MPI_Win_free(&job.window);
    MPI_Finalize();
    return status;
}
