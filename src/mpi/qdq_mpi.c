/* qdq-mpi: qdq quantize and qdq roundtrip by all ranks of an MPI job, which share one disk.
 *
 * The work is cut into many more parts of equal cost than there are ranks. A rank that has room asks rank 0 for the
 * next one, so that slow ranks get fewer. There a thread of its own answers: were it left to the one that computes, or
 * to MPI's one-sided calls, which most networks carry out only while their target is inside MPI, every rank would wait
 * for rank 0 to come to the end of its part. Nobody spins while he waits: cores may be short.
 *
 * When one has failed, there are no more parts: the others finish the one that they have, and nobody joins. All that is
 * written is written as --part does it, so a job that was killed or has failed goes on with --resume, by MPI or
 * without. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/part.h"

enum { PARTS_OF_A_RANK = 32 };

const qdq_cli_command *const qdq_cli_commands[] = {&qdq_cli_quantize, &qdq_cli_roundtrip, NULL};

/* Each message is one number. To rank 0: for another part; that the rank has come to its end, well (1) or not (0). From
 * it: the part, 0 for none; how the whole has ended. */
enum { ASK = 1, END, PART, VERDICT };
enum { FAILED, NOT_JOINED, JOINED }; /* verdicts */

static struct {
    int rank, ranks;
    uint32_t parts;
    bool settled;
    /* Of rank 0. */
    qdq_thread answering;
    bool answers;
    qdq_mutex mutex;
    uint32_t given; /* parts */
    bool failed;    /* a rank has */
} job = {.mutex = QDQ_MUTEX_INIT};

/* ---- Messages --------------------------------------------------------------------------------------------------- */

static const double moment = 0.0005; /* seconds */

static void send(int value, int to, int tag) { MPI_Send(&value, 1, MPI_INT, to, tag, MPI_COMM_WORLD); }

/* from, tag: may be any. */
static int receive(int from, int tag, MPI_Status *message) {
    int there = 0, value = 0;
    for (;;) {
        MPI_Iprobe(from, tag, MPI_COMM_WORLD, &there, message);
        if (there) break;
        qdq_sleep(moment);
    }
    MPI_Recv(&value, 1, MPI_INT, message->MPI_SOURCE, message->MPI_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return value;
}

/* ---- Rank 0 gives parts ----------------------------------------------------------------------------------------- */

static uint32_t give(void) {
    qdq_mutex_lock(&job.mutex);
    uint32_t part = !job.failed && job.given < job.parts ? ++job.given : 0;
    qdq_mutex_unlock(&job.mutex);
    return part;
}

static void give_no_more(void) {
    qdq_mutex_lock(&job.mutex);
    job.failed = true;
    qdq_mutex_unlock(&job.mutex);
}

/* Until all others have come to their end. */
static void *answer(void *context) {
    for (int left = job.ranks - 1; left > 0;) {
        MPI_Status message;
        int value = receive(MPI_ANY_SOURCE, MPI_ANY_TAG, &message);
        if (message.MPI_TAG == ASK) {
            send((int)give(), message.MPI_SOURCE, PART);
        } else {
            left--;
            if (!value) give_no_more();
        }
    }
    return context;
}

static uint32_t next_part(void *context) {
    (void)context;
    MPI_Status message;
    if (job.rank == 0) return give();
    send(0, 0, ASK);
    return (uint32_t)receive(0, PART, &message);
}

/* ---- The end ---------------------------------------------------------------------------------------------------- */

/* Joins, if all went well, and tells all. */
static qdq_status conclude(qdq_status status, const char *path, int *verdict) {
    if (job.answers)
        qdq_thread_join(job.answering);
    else
        answer(NULL);
    *verdict = FAILED;
    if (!job.failed) {
        status = qdq_join(path, NULL, NULL);
        *verdict = status == QDQ_OK ? JOINED : NOT_JOINED;
    }
    for (int rank = 1; rank < job.ranks; rank++) send(*verdict, rank, VERDICT);
    return status;
}

/* Every rank comes here once, whatever has become of it: QDQ_OK if all went well, and the output has its name. path: of
 * the output, NULL where it is not known, which is a failure. */
static qdq_status settle(qdq_status status, const char *path) {
    MPI_Status message;
    bool well = status == QDQ_OK && path != NULL;
    int verdict;
    if (job.settled) return status;
    job.settled = true;
    if (job.rank == 0) {
        if (!well) give_no_more();
        status = conclude(status, path, &verdict);
    } else {
        send(well, 0, END);
        verdict = receive(0, VERDICT, &message);
    }
    if (verdict == JOINED || !well || (verdict == NOT_JOINED && job.rank == 0)) return status;
    return qdq_fail(QDQ_IO_ERROR, verdict == FAILED ? "another rank has failed, and says why; what is done stays, and "
                                                      "--resume goes on with it"
                                                    : "rank 0 could not join the parts, and says why");
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
    qdq_json_begin();
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) return QDQ_EXIT_FAILED;
    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job.ranks);
    job.parts = (uint32_t)job.ranks * PARTS_OF_A_RANK;
    /* While the thread is there, no other of rank 0 calls MPI. */
    if (job.rank == 0 && provided >= MPI_THREAD_SERIALIZED)
        job.answers = qdq_thread_start_quiet(&job.answering, answer, NULL);
    int status = QDQ_EXIT_FAILED;
    if (job.rank > 0 || job.answers) {
        qdq_part_share(&(qdq_sharing){.parts = job.parts, .silent = job.rank > 0, .next = next_part, .finish = settle});
        status = run(argc, argv);
    } else {
        fputs("qdq-mpi: rank 0 cannot have a thread of its own for MPI\n", stderr);
    }
    settle(QDQ_IO_ERROR, NULL); /* of a rank that came to no output: its command line is wrong, or its input */
    MPI_Finalize();
    return status;
}
