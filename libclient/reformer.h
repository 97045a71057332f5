/* reformer.h - client library of reformerd, the per-host cache of measured cuDNN kernels.
 *
 * Describe a convolution, get the engine configurations to use, fastest first:
 *
 *     reformer_client* client = NULL;
 *     if (reformer_connect(NULL, &client) != REFORMER_OK) ...
 *     reformer_context context = {.device_name = "NVIDIA H200", .compute_capability = 90,
 *                                 .sm_count = 132, .cudnn_version = 91900};
 *     uint32_t context_id;
 *     reformer_add_context(client, &context, &context_id);
 *     reformer_problem problem;
 *     reformer_problem_parse("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1", &problem);
 *     reformer_decision decision;
 *     reformer_query(client, context_id, &problem, NULL, &decision);
 *
 * Threads: every function may be called from any thread; a client may be shared.
 * Fork: a child that inherits a client may go on using it; it connects anew.
 * Errors: a reformer_status; REFORMER_OK is 0. No function prints, exits, or throws.
 * Time: a query takes no longer than the client's deadline (3 ms by default) whatever the daemon
 * does; after a failure the client leaves the daemon alone for a while (100 ms, doubling to 30 s),
 * but for one that was only late: it is asked again, up to four times in a row.
 * The first answer to a problem, a failure included, is its answer for the life of the client.
 */
#ifndef REFORMER_H
#define REFORMER_H

#include <stddef.h>
#include <stdint.h>

/* NOLINTBEGIN(modernize-use-using,readability-identifier-naming): C */
#ifdef __cplusplus
extern "C" {
#endif

#define REFORMER_API __attribute__((visibility("default")))

/* Changes that break callers raise REFORMER_VERSION_MAJOR. */
#define REFORMER_VERSION_MAJOR 0
#define REFORMER_VERSION_MINOR 1
#define REFORMER_VERSION_PATCH 0

typedef enum reformer_status {
  REFORMER_OK = 0,
  REFORMER_INVALID_ARGUMENT = 1, /* the caller's input is wrong */
  REFORMER_CORRUPT = 2,          /* the other side sent what does not decode */
  REFORMER_UNSUPPORTED = 3,      /* another protocol version */
  REFORMER_UNAVAILABLE = 4,      /* no daemon there, or backing off after a failure */
  REFORMER_TIMEOUT = 5,          /* the deadline passed */
  REFORMER_DENIED = 6,           /* not for this user */
  REFORMER_EXHAUSTED = 7,        /* a bound was reached */
  REFORMER_INTERNAL = 8,         /* a defect of the library */
  REFORMER_NOT_FOUND = 9         /* no such record or model: reformer_admin() */
} reformer_status;

/* A short text for a status; static. */
REFORMER_API const char* reformer_status_text(reformer_status status);
/* "0.1.0"; static. */
REFORMER_API const char* reformer_version(void);

enum { REFORMER_FORWARD = 0, REFORMER_DATA_GRADIENT = 1, REFORMER_FILTER_GRADIENT = 2 };
enum {
  REFORMER_F32 = 0,
  REFORMER_F64 = 1,
  REFORMER_F16 = 2,
  REFORMER_BF16 = 3,
  REFORMER_I8 = 4,
  REFORMER_U8 = 5,
  REFORMER_I32 = 6,
  REFORMER_I64 = 7,
  REFORMER_FP8_E4M3 = 8,
  REFORMER_FP8_E5M2 = 9,
  REFORMER_FAST_FLOAT_FOR_FP8 = 10
};
enum { REFORMER_CROSS_CORRELATION = 0, REFORMER_CONVOLUTION = 1 };
enum {
  REFORMER_SOURCE_ABSTAIN = 0,   /* no entries: use cuDNN's own heuristic */
  REFORMER_SOURCE_PREDICTED = 1, /* a model's order */
  REFORMER_SOURCE_MEASURED = 2,
  REFORMER_SOURCE_FROZEN = 3 /* from a snapshot file */
};

/* Axes: batch (or filter's output channels), channels, depth, height, width. Strides in elements.
 */
typedef struct reformer_tensor {
  uint8_t type;
  uint8_t reserved;   /* 0 */
  uint16_t alignment; /* of the pointer, bytes, a power of two */
  uint32_t reserved2; /* 0 */
  int64_t dims[5];
  int64_t strides[5];
} reformer_tensor;

/* One convolution: x image, w filter, y output, whichever of them the operation computes.
 * 2-D problems have depth 1 in all tensors and spatial_rank 2. Padding, stride and dilation are
 * [depth, height, width]. */
typedef struct reformer_problem {
  uint8_t operation;
  uint8_t mode;
  uint8_t compute_type;
  uint8_t spatial_rank;
  uint32_t reserved; /* 0 */
  reformer_tensor x, w, y;
  int32_t pad_before[3];
  int32_t pad_after[3];
  int32_t stride[3];
  int32_t dilation[3];
  uint64_t fusion; /* 0 for a convolution alone */
} reformer_problem;

typedef struct reformer_context {
  const char* device_name;
  int32_t compute_capability; /* 90 */
  int32_t sm_count;
  int64_t cudnn_version; /* cudnnGetVersion() */
  const char* library;   /* path of the cuDNN library in use, or NULL */
  int32_t gpu;           /* ordinal, -1 none */
} reformer_context;

#define REFORMER_MAX_KNOBS 16
#define REFORMER_MAX_ENTRIES 16
#define REFORMER_MAX_MODEL_NAME 64

typedef struct reformer_entry {
  int32_t engine; /* CUDNN_ATTR_ENGINE_GLOBAL_INDEX */
  uint32_t knob_count;
  struct {
    int32_t type; /* cudnnBackendKnobType_t */
    int32_t value;
  } knobs[REFORMER_MAX_KNOBS];
  uint32_t numerical_notes; /* bits 1 << cudnnBackendNumericalNote_t */
  uint32_t behavior_notes;  /* bits 1 << cudnnBackendBehaviorNote_t; bit 31: a prediction that cuDNN
                               lists for few problems, so that it may not exist for this one */
  int64_t workspace_bytes;  /* -1 unknown */
  float time_us;            /* measured; NaN in predictions */
  float build_us;           /* expected plan-building time; NaN unknown */
} reformer_entry;

typedef struct reformer_decision {
  uint32_t source;
  uint32_t entry_count;
  float confidence; /* probability that entries[0] is within 5 % of the best */
  char model[REFORMER_MAX_MODEL_NAME];
  reformer_entry entries[REFORMER_MAX_ENTRIES]; /* fastest first */
} reformer_decision;

/* What the application will not run. reformer_no_constraints() allows everything. */
typedef struct reformer_constraints {
  uint32_t forbidden_numerical_notes;
  uint32_t forbidden_behavior_notes;
  int64_t max_workspace_bytes;
  float max_build_us;
} reformer_constraints;
REFORMER_API reformer_constraints reformer_no_constraints(void);

typedef struct reformer_options {
  const char* socket_path; /* NULL: $REFORMER_SOCKET, else /run/reformerd/socket */
  uint32_t deadline_us;    /* 0: $REFORMER_DEADLINE_US, else 3000 */
  const char* client_name; /* shown by `reformerctl clients`; NULL: "libreformer" */
  const char* freeze_file; /* snapshot whose answers come first; NULL: $REFORMER_FREEZE, or none */
} reformer_options;

typedef struct reformer_client reformer_client;

/* Makes a client. Succeeds without a daemon: the connection is made when it is first needed.
 * options may be NULL. Errors: REFORMER_INVALID_ARGUMENT, REFORMER_CORRUPT (freeze file). */
REFORMER_API reformer_status reformer_connect(const reformer_options* options,
                                              reformer_client** client);
REFORMER_API void reformer_disconnect(reformer_client* client);

/* Declares where problems run. Equal contexts get the same id. */
REFORMER_API reformer_status reformer_add_context(reformer_client* client,
                                                  const reformer_context* context,
                                                  uint32_t* context_id);

/* The answer for one problem: from this process's table, else the shared table, else the daemon.
 * The same problem, context and constraints get the same answer for the life of the client.
 * constraints may be NULL. On failure `decision` is an abstention. */
REFORMER_API reformer_status reformer_query(reformer_client* client,
                                            uint32_t context_id,
                                            const reformer_problem* problem,
                                            const reformer_constraints* constraints,
                                            reformer_decision* decision);
/* Many problems in one request; `decisions` has `count` elements. */
REFORMER_API reformer_status reformer_query_batch(reformer_client* client,
                                                  uint32_t context_id,
                                                  const reformer_problem* problems,
                                                  size_t count,
                                                  const reformer_constraints* constraints,
                                                  reformer_decision* decisions);

/* Notes that a problem was executed `count` times with `entry`; gpu_us is the GPU time seen, NaN if
 * not taken. Collected and sent in batches by later calls or reformer_flush(); never waits. */
REFORMER_API reformer_status reformer_report_use(reformer_client* client,
                                                 uint32_t context_id,
                                                 const reformer_problem* problem,
                                                 const reformer_entry* entry,
                                                 uint32_t count,
                                                 float gpu_us);
REFORMER_API reformer_status reformer_flush(reformer_client* client);

typedef struct reformer_statistics {
  uint64_t process_hits; /* answered from this process's table */
  uint64_t shared_hits;  /* from the shared table */
  uint64_t socket_hits;  /* from the daemon */
  uint64_t frozen_hits;
  uint64_t abstentions;
  uint64_t failures; /* daemon away, late, or not understood */
} reformer_statistics;
REFORMER_API reformer_status reformer_get_statistics(reformer_client* client,
                                                     reformer_statistics* statistics);

/* The text form of a problem (docs/problems.md) and back. Format writes at most `size` bytes with
 * the terminating zero and returns the length that it needs, like snprintf. */
REFORMER_API reformer_status reformer_problem_parse(const char* text, reformer_problem* problem);
REFORMER_API size_t reformer_problem_format(const reformer_problem* problem,
                                            char* text,
                                            size_t size);

/* One administrative request (JSON, docs/protocol.md) on a connection of its own; `deadline_ms` is
 * for each piece of the reply. `on_reply` gets each piece of the reply; returning non-zero stops.
 * For tools, not applications. */
typedef int (*reformer_reply_fn)(void* user, const char* json, size_t length, int more);
REFORMER_API reformer_status reformer_admin(reformer_client* client,
                                            const char* json,
                                            size_t length,
                                            uint32_t deadline_ms,
                                            reformer_reply_fn on_reply,
                                            void* user);
/* Why the last failing call of this thread failed; never NULL. */
REFORMER_API const char* reformer_last_error(void);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-use-using,readability-identifier-naming) */
#endif /* REFORMER_H */
