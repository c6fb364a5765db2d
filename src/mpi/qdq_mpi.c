/* qdq-mpi: qdq's commands on models by all ranks of an MPI job, which share one disk.
 *
 * The work is cut into many more parts of equal cost than there are ranks. A rank that has room asks rank 0 for the
 * next one, so that slow ranks get fewer. There a thread of its own answers: were it left to the one that computes, or
 * to MPI's one-sided calls, which most networks carry out only while their target is inside MPI, every rank would wait
 * for rank 0 to come to the end of its part. Nobody spins while he waits: cores may be short.
 *
 * Parts are made as --part makes them, in files that a later run can go on with. When all are done, rank 0 puts the
 * whole together, alone. When one has failed, there are no more parts: the others finish the one that they have, and
 * rank 0 says what has failed, and where. The others never print. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform_files.h"
#include "cli/cli.h"
#include "cli/part.h"

enum { PARTS_OF_A_RANK = 32, MOST_PARTS = 1 << 16, ROOM = 2048 };

const qdq_cli_command *const qdq_cli_commands[] = {&qdq_cli_quantize,    &qdq_cli_roundtrip, &qdq_cli_error,
                                                   &qdq_cli_sensitivity, &qdq_cli_plan,      NULL};

/* Messages. To rank 0: a rank wants another part; it has come to its end, with what failed, "" if nothing did. From it:
 * the part, 0 for none; and, when rank 0 has come to its own end, whether all went well. */
enum { ASK = 1, END, PART, VERDICT };

static struct {
    int rank, ranks;
    uint32_t parts;
    bool met;               /* this rank has come to its end */
    char complaint[ROOM];   /* what it would have printed */
    char unfinished[ROOM];  /* what UNFINISHED.parts is called: for sums that have no folder of the user's */
    char folder[ROOM + 16]; /* that */
    /* Of rank 0. */
    qdq_thread answering;
    bool answers;
    qdq_mutex mutex;
    uint32_t given; /* parts */
    bool failed;    /* a rank has */
    char why[ROOM]; /* of the first of the others that failed */
} job = {.mutex = QDQ_MUTEX_INIT};

/* ---- Messages --------------------------------------------------------------------------------------------------- */

static const double moment = 0.0005; /* seconds */

static void send_number(int value, int to, int tag) { MPI_Send(&value, 1, MPI_INT, to, tag, MPI_COMM_WORLD); }

/* Waits for one; from, tag: may be any. */
static MPI_Status await(int from, int tag) {
    MPI_Status message;
    int there = 0;
    for (;;) {
        MPI_Iprobe(from, tag, MPI_COMM_WORLD, &there, &message);
        if (there) return message;
        qdq_sleep(moment);
    }
}

static int receive_number(int from, int tag) {
    int value = 0;
    await(from, tag);
    MPI_Recv(&value, 1, MPI_INT, from, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return value;
}

/* ---- Rank 0 gives parts ----------------------------------------------------------------------------------------- */

static uint32_t give(void) {
    qdq_mutex_lock(&job.mutex);
    uint32_t part = !job.failed && job.given < job.parts ? ++job.given : 0;
    qdq_mutex_unlock(&job.mutex);
    return part;
}

/* There are no more, since this has failed; NULL: rank 0 itself, which says it. */
static void give_no_more(int rank, const char *why) {
    qdq_mutex_lock(&job.mutex);
    job.failed = true;
    if (why != NULL && job.why[0] == '\0') snprintf(job.why, sizeof job.why, "rank %d: %s", rank, why);
    qdq_mutex_unlock(&job.mutex);
}

/* Until all others have come to their end. */
static void *answer(void *context) {
    for (int left = job.ranks - 1; left > 0;) {
        char text[ROOM] = "";
        MPI_Status message = await(MPI_ANY_SOURCE, MPI_ANY_TAG);
        if (message.MPI_TAG == ASK) {
            receive_number(message.MPI_SOURCE, ASK);
            send_number((int)give(), message.MPI_SOURCE, PART);
            continue;
        }
        MPI_Recv(text, sizeof text - 1, MPI_CHAR, message.MPI_SOURCE, END, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        left--;
        if (text[0] != '\0') give_no_more(message.MPI_SOURCE, text);
    }
    return context;
}

static uint32_t next_part(void *context) {
    (void)context;
    if (job.rank == 0) return give();
    send_number(0, 0, ASK);
    return (uint32_t)receive_number(0, PART);
}

/* ---- The end ---------------------------------------------------------------------------------------------------- */

/* Rank 0 has heard of all others' ends. */
static qdq_status hear(qdq_status status) {
    if (status != QDQ_OK) give_no_more(0, NULL);
    if (job.answers)
        qdq_thread_join(job.answering);
    else
        answer(NULL);
    return status == QDQ_OK && job.failed ? qdq_fail(QDQ_IO_ERROR, "%s", job.why) : status;
}

/* The others have told theirs, and heard how rank 0's was. why: what failed, if something did. */
static qdq_status tell(qdq_status status, const char *why) {
    const char *text = status == QDQ_OK ? "" : why[0] != '\0' ? why : "failed";
    MPI_Send(text, (int)strnlen(text, ROOM - 1), MPI_CHAR, 0, END, MPI_COMM_WORLD);
    bool well = receive_number(0, VERDICT);
    return status == QDQ_OK && !well ? qdq_fail(QDQ_IO_ERROR, "another rank has failed") : status;
}

static qdq_status meet(qdq_status status) {
    job.met = true;
    return job.rank == 0 ? hear(status) : tell(status, qdq_explanation());
}

/* Every rank comes here once, with its exit status; returns that of the job. */
static int conclude(int status) {
    if (!job.met) {
        job.met = true;
        qdq_status end = status == QDQ_EXIT_OK ? QDQ_OK : QDQ_IO_ERROR;
        end = job.rank == 0 ? hear(end) : tell(end, job.complaint);
        if (status == QDQ_EXIT_OK && end != QDQ_OK) status = qdq_exit_failure(end);
    }
    if (job.rank > 0) return status;
    qdq_discard_parts(job.unfinished); /* if it is there */
    for (int rank = 1; rank < job.ranks; rank++) send_number(status == QDQ_EXIT_OK, rank, VERDICT);
    return status;
}

/* ---- The command line ------------------------------------------------------------------------------------------- */

static int usage(FILE *to) {
    fputs("Usage: mpirun [OPTION]... qdq-mpi COMMAND [OPTION]...\n\n"
          "qdq-mpi: qdq's work on a model, shared by all ranks of an MPI job. Results are\n"
          "those of qdq alone, byte for byte.\n\n"
          "Commands:\n",
          to);
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++)
        fprintf(to, "  %-12s %s\n", (*c)->name, (*c)->summary);
    fputs("\nOptions are qdq's, but for --part; 'qdq-mpi COMMAND --help' shows them. Rank 0\n"
          "prints and writes. One rank a node is enough: threads share its cores.\n\n"
          "All ranks must see one disk. Parts of a file are kept beside it, in OUT.parts,\n"
          "until it is whole; after a failure or a kill --resume goes on with them. What is\n"
          "measured is kept in the folder of --sums, if one is named, and the same command\n"
          "goes on with it; else in a folder of the working directory, which goes in the\n"
          "end.\n\n"
          "Examples:\n"
          "  # a file, by eight nodes\n"
          "  mpirun -n 8 --map-by ppr:1:node --bind-to none qdq-mpi quantize in.gguf out.gguf IQ3_M\n"
          "  # every format's errors, by eight nodes under Slurm\n"
          "  srun -N 8 -n 8 qdq-mpi error -f all --sums sums --json errors.json model-bf16/\n",
          to);
    return to == stdout ? QDQ_EXIT_OK : QDQ_EXIT_USAGE;
}

static int run(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    if (argc < 2) return job.rank == 0 ? usage(stderr) : QDQ_EXIT_USAGE;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return usage(stdout);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("qdq-mpi %s\n", qdq_version());
        return QDQ_EXIT_OK;
    }
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++)
        if (strcmp((*c)->name, word) == 0) return (*c)->run(argc - 1, argv + 1);
    qdq_complain("qdq-mpi has no command '%s'; 'qdq-mpi --help' has those that ranks can share", word);
    return QDQ_EXIT_USAGE;
}

/* All ranks agree about the folder's name, which no other job has. */
static void name_folder(void) {
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int length;
    MPI_Get_processor_name(host, &length);
    snprintf(job.unfinished, sizeof job.unfinished, "qdq-mpi-%s-%ld", host, qdq_process_id());
    MPI_Bcast(job.unfinished, sizeof job.unfinished, MPI_CHAR, 0, MPI_COMM_WORLD);
    snprintf(job.folder, sizeof job.folder, "%s.parts", job.unfinished);
}

int main(int argc, char **argv) {
    int provided, status = QDQ_EXIT_FAILED;
    qdq_command_begin(&argc, &argv);
    qdq_json_begin();
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) return QDQ_EXIT_FAILED;
    qdq_guard(); /* in the place of what MPI does about signals */
    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job.ranks);
    setenv("NO_COLOR", "1", 1); /* Open MPI shows rank 0 a terminal also where the user writes into a file */
    job.parts = job.ranks < MOST_PARTS / PARTS_OF_A_RANK ? (uint32_t)job.ranks * PARTS_OF_A_RANK : MOST_PARTS;
    name_folder();
    if (job.rank > 0) {
        qdq_complain_into(job.complaint, sizeof job.complaint);
        if (freopen("/dev/null", "w", stdout) == NULL) fclose(stdout);
    }
    /* While the thread is there, no other of rank 0 calls MPI. */
    if (job.rank == 0 && provided >= MPI_THREAD_SERIALIZED)
        job.answers = qdq_thread_start_quiet(&job.answering, answer, NULL);
    if (job.rank > 0 || job.answers) {
        qdq_part_share(&(qdq_sharing){
            .parts = job.parts, .first = job.rank == 0, .folder = job.folder, .next = next_part, .meet = meet});
        status = run(argc, argv);
    } else {
        qdq_complain("rank 0 cannot have a thread of its own for MPI");
    }
    status = conclude(status);
    MPI_Finalize();
    return status;
}
