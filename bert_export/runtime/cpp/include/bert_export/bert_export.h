/* The library for C99, and for every language that calls C.
 *
 * A call and its answer are JSON: one function serves every task, options have the names of the
 * Python package and may be left out, and neither a new task nor a new option changes this
 * interface. Vectors, of which JSON would take most of the time, come as numbers too.
 *
 * Texts are UTF-8. No function throws or ends the process. Every function may be called from
 * several threads at once, but for bert_export_pipeline_free and bert_export_pool_free, which come
 * last.
 */
#ifndef BERT_EXPORT_H
#define BERT_EXPORT_H

#include <stddef.h>

#if defined(BERT_EXPORT_STATIC)
#define BERT_EXPORT_C_API
#else
#define BERT_EXPORT_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What came of a call. A message says the rest, in one line that a user can act on. */
typedef enum bert_export_status {
  BERT_EXPORT_OK = 0,
  /* A bundle is missing, tampered with, truncated or of another version. */
  BERT_EXPORT_BUNDLE_ERROR = 1,
  /* A call or an option does not fit the task or the graph, or the pipeline is closed. */
  BERT_EXPORT_INPUT_ERROR = 2,
  /* An engine cannot be opened, or cannot take the graph. */
  BERT_EXPORT_TARGET_ERROR = 3,
  /* The bundle is for another task. */
  BERT_EXPORT_TASK_ERROR = 4,
  /* Tokenizer files are missing, malformed or contradictory. */
  BERT_EXPORT_TOKENIZER_ERROR = 5,
  /* Memory ran out. */
  BERT_EXPORT_MEMORY_ERROR = 6,
  /* Anything else: a fault of the library. */
  BERT_EXPORT_INTERNAL_ERROR = 7
} bert_export_status;

/* An opened bundle. */
typedef struct bert_export_pipeline bert_export_pipeline;

/* Threads that several pipelines share. */
typedef struct bert_export_pool bert_export_pool;

/* The library's version, such as "0.1.0". */
BERT_EXPORT_C_API const char* bert_export_version(void);

/* Starts so many threads, at least one. */
BERT_EXPORT_C_API bert_export_status bert_export_pool_new(size_t threads, bert_export_pool** pool,
                                                          char** message);

/* Gives a pool back; pipelines that were opened with it keep its threads. NULL is nothing. */
BERT_EXPORT_C_API void bert_export_pool_free(bert_export_pool* pool);

/* Opens a bundle with the pipeline of its own task.
 *
 * path: the bundle's folder.
 * options: an object of JSON with the names of bert_export::OpenOptions, such as
 *   {"threads": 1, "target": "onnxruntime"}; NULL for the defaults.
 * pool: threads for large calls; NULL for the caller's alone.
 * pipeline: where it opened, the pipeline, for bert_export_pipeline_free; else NULL.
 * message: where it did not, why, for bert_export_free; else NULL. May itself be NULL.
 */
BERT_EXPORT_C_API bert_export_status bert_export_open(const char* path, const char* options,
                                                      const bert_export_pool* pool,
                                                      bert_export_pipeline** pipeline,
                                                      char** message);

/* As bert_export_open, for a task by its name, such as "zero-shot-classification": a bundle for
 * text classification will do there. */
BERT_EXPORT_C_API bert_export_status bert_export_open_task(const char* path, const char* task,
                                                           const char* options,
                                                           const bert_export_pool* pool,
                                                           bert_export_pipeline** pipeline,
                                                           char** message);

/* Name of the task that a pipeline answers, such as "token-classification". */
BERT_EXPORT_C_API const char* bert_export_task(const bert_export_pipeline* pipeline);

/* Answers a call.
 *
 * request: an object of JSON, request_bytes long: the arguments of the Python pipeline's call by
 * name, such as {"inputs": ["Ada met Charles."], "aggregation_strategy": "simple"}. answer: an
 * object or a list of JSON, as the Python pipeline answers, with "byte_start" and "byte_end" beside
 * every "start" and "end"; it ends in a NUL that answer_bytes does not count. For bert_export_free.
 * answer_bytes: its length; may be NULL.
 * message: as in bert_export_open.
 */
BERT_EXPORT_C_API bert_export_status bert_export_call(const bert_export_pipeline* pipeline,
                                                      const char* request, size_t request_bytes,
                                                      char** answer, size_t* answer_bytes,
                                                      char** message);

/* Takes a piece of a text, piece_bytes long and without a NUL at its end, that is gone after the call.
 * Gives 0 to go on, anything else for no more. context: as the caller gave it. It must not throw. */
typedef int (*bert_export_receive)(void* context, const char* piece, size_t piece_bytes);

/* Continues one text (text-generation) or answers it (text2text-generation, summarization) and hands
 * over what comes of it piece by piece, each when no later token can change it. Together the pieces
 * are what bert_export_call answers with one beam, without the prompt.
 *
 * request: as of bert_export_call, with one text as "inputs" and without options that mean nothing
 *   here: several beams or sequences, "return_full_text" and "batch_size".
 * receive, context: called with every piece, in the caller's thread.
 * message: as in bert_export_open.
 */
BERT_EXPORT_C_API bert_export_status bert_export_stream(const bert_export_pipeline* pipeline,
                                                        const char* request, size_t request_bytes,
                                                        bert_export_receive receive, void* context,
                                                        char** message);

/* Embeds texts (sentence-embedding), with the default options of the bundle.
 *
 * texts, text_bytes: count texts and the bytes of each; text_bytes may be NULL for texts that end
 * in NUL. vectors: count times dimension numbers, row by row, for bert_export_free.
 */
BERT_EXPORT_C_API bert_export_status bert_export_embed(const bert_export_pipeline* pipeline,
                                                       const char* const* texts,
                                                       const size_t* text_bytes, size_t count,
                                                       float** vectors, size_t* dimension,
                                                       char** message);

/* Frees the engine. A graph call that runs in another thread ends first; whatever comes later is
 * answered by BERT_EXPORT_INPUT_ERROR. */
BERT_EXPORT_C_API void bert_export_close(bert_export_pipeline* pipeline);

/* Frees a pipeline that no call uses any more. NULL is nothing. */
BERT_EXPORT_C_API void bert_export_pipeline_free(bert_export_pipeline* pipeline);

/* Frees an answer, vectors or a message. NULL is nothing. */
BERT_EXPORT_C_API void bert_export_free(void* memory);

#ifdef __cplusplus
}
#endif

#endif /* BERT_EXPORT_H */
