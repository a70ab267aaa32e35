/* Answers calls of a bundle through the C interface, a line each from standard input to standard output:
 *
 *     c_calls BUNDLE [TASK [THREADS [TARGET]]] < requests > answers
 *
 * A request is JSON, or a text behind `embed `, or JSON behind `stream ` and the most pieces that are
 * wanted: the answer is a list of how many bytes each piece has, and their text. An answer is a status and behind it JSON or a message; the
 * first line is that of the opening. Behind the request `close` the pipeline is closed. With THREADS a
 * pool serves the calls. What is empty is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bert_export/bert_export.h"

/* A line without its end, for free; NULL where there is none. */
static char* read_line(size_t* bytes) {
  size_t room = 256;
  char* line = malloc(room);
  int byte = EOF;
  *bytes = 0;
  while (line != NULL && (byte = getchar()) != EOF && byte != '\n') {
    if (*bytes + 1 == room) {
      char* const larger = realloc(line, room *= 2);
      if (larger == NULL) free(line);
      line = larger;
      if (line == NULL) return NULL;
    }
    line[(*bytes)++] = (char)byte;
  }
  if (byte == EOF && *bytes == 0) {
    free(line);
    return NULL;
  }
  if (line != NULL) line[*bytes] = '\0';
  return line;
}

static void write_outcome(bert_export_status status, const char* answer, const char* message) {
  printf("%d %s\n", (int)status, status == BERT_EXPORT_OK ? answer : message);
}

static void embed(const bert_export_pipeline* pipeline, const char* text, size_t bytes) {
  float* vectors = NULL;
  char* message = NULL;
  size_t dimension = 0;
  const bert_export_status status =
      bert_export_embed(pipeline, &text, &bytes, 1, &vectors, &dimension, &message);
  if (status != BERT_EXPORT_OK) {
    write_outcome(status, NULL, message);
  } else {
    size_t place;
    printf("0 [");
    for (place = 0; place < dimension; ++place) {
      printf("%s%.9g", place == 0 ? "" : ",", (double)vectors[place]);
    }
    printf("]\n");
  }
  bert_export_free(vectors);
  bert_export_free(message);
}

/* Pieces as they came: their sizes, as JSON's list without its end, and their text. */
typedef struct pieces {
  size_t wanted;
  char sizes[4096];
  char text[4096];
} pieces;

static int receive(void* context, const char* piece, size_t piece_bytes) {
  pieces* const all = context;
  char* const end = all->sizes + strlen(all->sizes);
  snprintf(end, sizeof(all->sizes) - (size_t)(end - all->sizes), "%s%lu",
           end == all->sizes ? "" : ",", (unsigned long)piece_bytes);
  strncat(all->text, piece, piece_bytes);
  return --all->wanted == 0;
}

static void stream(const bert_export_pipeline* pipeline, const char* line, size_t bytes) {
  char* request = NULL;
  char* message = NULL;
  pieces all = {0, "", ""};
  bert_export_status status;
  all.wanted = strtoul(line, &request, 10);
  status = bert_export_stream(pipeline, request, bytes - (size_t)(request - line), receive, &all,
                              &message);
  if (status == BERT_EXPORT_OK) {
    printf("0 [[%s],\"%s\"]\n", all.sizes, all.text);
  } else {
    write_outcome(status, NULL, message);
  }
  bert_export_free(message);
}

static void answer_all(bert_export_pipeline* pipeline) {
  size_t bytes = 0;
  char* line;
  while ((line = read_line(&bytes)) != NULL) {
    if (strcmp(line, "close") == 0) {
      bert_export_close(pipeline);
    } else if (strncmp(line, "embed ", 6) == 0) {
      embed(pipeline, line + 6, bytes - 6);
    } else if (strncmp(line, "stream ", 7) == 0) {
      stream(pipeline, line + 7, bytes - 7);
    } else {
      char* answer = NULL;
      char* message = NULL;
      size_t answer_bytes = 0;
      const bert_export_status status =
          bert_export_call(pipeline, line, bytes, &answer, &answer_bytes, &message);
      if (status == BERT_EXPORT_OK && strlen(answer) != answer_bytes) abort();
      write_outcome(status, answer, message);
      bert_export_free(answer);
      bert_export_free(message);
    }
    free(line);
  }
}

int main(int count, char** arguments) {
  const char* const task = count > 2 && arguments[2][0] != '\0' ? arguments[2] : NULL;
  bert_export_pool* pool = NULL;
  bert_export_pipeline* pipeline = NULL;
  char* message = NULL;
  char options[128] = "{\"threads\": 1}";
  bert_export_status status = BERT_EXPORT_OK;
  if (count < 2) {
    fprintf(stderr, "usage: c_calls BUNDLE [TASK [THREADS [TARGET]]]\n");
    return 2;
  }
  if (count > 4) snprintf(options, sizeof(options), "{\"threads\": 1, \"target\": \"%s\"}", arguments[4]);
  if (count > 3 && arguments[3][0] != '\0') status = bert_export_pool_new(strtoul(arguments[3], NULL, 10), &pool, &message);
  if (status == BERT_EXPORT_OK) {
    status = bert_export_open_task(arguments[1], task, options, pool, &pipeline, &message);
  }
  write_outcome(status, status == BERT_EXPORT_OK ? bert_export_task(pipeline) : NULL, message);
  bert_export_pool_free(pool);
  if (status == BERT_EXPORT_OK) answer_all(pipeline);
  bert_export_free(message);
  bert_export_pipeline_free(pipeline);
  return 0;
}
