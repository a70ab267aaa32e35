// The C interface: handles, codes and messages around what throws.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "bert_export/bert_export.h"
#include "bert_export/errors.hpp"
#include "bert_export/pipelines.hpp"
#include "calls/call.hpp"

struct bert_export_pipeline {
  bert_export::AnyPipeline pipeline;
};

struct bert_export_pool {
  std::shared_ptr<bert_export::ThreadPool> threads;
};

namespace {

// Memory for bert_export_free.
template <typename Number>
Number* allocate(std::size_t count) {
  auto* const memory =
      static_cast<Number*>(std::malloc(std::max<std::size_t>(count, 1) * sizeof(Number)));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

char* copy_text(const char* text, std::size_t bytes) {
  char* const copied = allocate<char>(bytes + 1);
  std::memcpy(copied, text, bytes);
  copied[bytes] = '\0';
  return copied;
}

bert_export_status report(bert_export_status status, const char* what, char** message) noexcept {
  try {
    if (message != nullptr) *message = copy_text(what, std::strlen(what));
  } catch (const std::bad_alloc&) {
    return BERT_EXPORT_MEMORY_ERROR;
  }
  return status;
}

// Runs a step; what it throws becomes a code and a message.
template <typename Step>
bert_export_status guarded(char** message, const Step& step) noexcept {
  if (message != nullptr) *message = nullptr;
  try {
    step();
    return BERT_EXPORT_OK;
  } catch (const bert_export::BundleError& error) {
    return report(BERT_EXPORT_BUNDLE_ERROR, error.what(), message);
  } catch (const bert_export::InputError& error) {
    return report(BERT_EXPORT_INPUT_ERROR, error.what(), message);
  } catch (const bert_export::TargetError& error) {
    return report(BERT_EXPORT_TARGET_ERROR, error.what(), message);
  } catch (const bert_export::TaskError& error) {
    return report(BERT_EXPORT_TASK_ERROR, error.what(), message);
  } catch (const bert_export::TokenizerError& error) {
    return report(BERT_EXPORT_TOKENIZER_ERROR, error.what(), message);
  } catch (const std::bad_alloc&) {
    return report(BERT_EXPORT_MEMORY_ERROR, "memory ran out.", message);
  } catch (const std::exception& error) {
    return report(BERT_EXPORT_INTERNAL_ERROR, error.what(), message);
  } catch (...) {
    return report(BERT_EXPORT_INTERNAL_ERROR, "something unknown was thrown.", message);
  }
}

void require(const void* argument, const char* name) {
  if (argument != nullptr) return;
  throw bert_export::InputError(std::string(name) + " is missing", {"a pointer", "NULL"});
}

}  // namespace

const char* bert_export_version(void) { return BERT_EXPORT_VERSION; }

bert_export_status bert_export_pool_new(size_t threads, bert_export_pool** pool, char** message) {
  if (pool != nullptr) *pool = nullptr;
  return guarded(message, [&] {
    require(pool, "pool");
    *pool = new bert_export_pool{std::make_shared<bert_export::ThreadPool>(threads)};
  });
}

void bert_export_pool_free(bert_export_pool* pool) { delete pool; }

bert_export_status bert_export_open(const char* path, const char* options,
                                    const bert_export_pool* pool, bert_export_pipeline** pipeline,
                                    char** message) {
  return bert_export_open_task(path, nullptr, options, pool, pipeline, message);
}

bert_export_status bert_export_open_task(const char* path, const char* task, const char* options,
                                         const bert_export_pool* pool,
                                         bert_export_pipeline** pipeline, char** message) {
  if (pipeline != nullptr) *pipeline = nullptr;
  return guarded(message, [&] {
    require(path, "path");
    require(pipeline, "pipeline");
    bert_export::OpenOptions read =
        bert_export::calls::read_open_options(options == nullptr ? "" : options);
    if (pool != nullptr) read.pool = pool->threads;
    *pipeline = new bert_export_pipeline{
        task == nullptr ? bert_export::open(path, read) : bert_export::open_task(path, task, read)};
  });
}

const char* bert_export_task(const bert_export_pipeline* pipeline) {
  return std::visit([](const auto& own) { return own.task().c_str(); }, pipeline->pipeline);
}

bert_export_status bert_export_call(const bert_export_pipeline* pipeline, const char* request,
                                    size_t request_bytes, char** answer, size_t* answer_bytes,
                                    char** message) {
  if (answer != nullptr) *answer = nullptr;
  return guarded(message, [&] {
    require(pipeline, "pipeline");
    require(request, "request");
    require(answer, "answer");
    const std::string written =
        bert_export::calls::call(pipeline->pipeline, {request, request_bytes});
    *answer = copy_text(written.data(), written.size());
    if (answer_bytes != nullptr) *answer_bytes = written.size();
  });
}

bert_export_status bert_export_stream(const bert_export_pipeline* pipeline, const char* request,
                                      size_t request_bytes, bert_export_receive receive,
                                      void* context, char** message) {
  return guarded(message, [&] {
    require(pipeline, "pipeline");
    require(request, "request");
    require(reinterpret_cast<const void*>(receive), "receive");
    bert_export::calls::stream(pipeline->pipeline, {request, request_bytes},
                               [&](std::string_view piece) {
                                 return receive(context, piece.data(), piece.size()) == 0;
                               });
  });
}

bert_export_status bert_export_embed(const bert_export_pipeline* pipeline, const char* const* texts,
                                     const size_t* text_bytes, size_t count, float** vectors,
                                     size_t* dimension, char** message) {
  if (vectors != nullptr) *vectors = nullptr;
  return guarded(message, [&] {
    require(pipeline, "pipeline");
    if (count > 0) require(texts, "texts");
    require(vectors, "vectors");
    require(dimension, "dimension");
    const auto* const own = std::get_if<bert_export::SentenceEmbedding>(&pipeline->pipeline);
    if (own == nullptr) {
      throw bert_export::TaskError("bert_export_embed does not fit the bundle",
                                   {"sentence-embedding", bert_export_task(pipeline)});
    }
    std::vector<std::string_view> views;
    for (std::size_t index = 0; index < count; ++index) {
      require(texts[index], "text");
      views.emplace_back(texts[index],
                         text_bytes == nullptr ? std::strlen(texts[index]) : text_bytes[index]);
    }
    const std::vector<std::vector<float>> rows = (*own)(views);
    *dimension = rows.empty() ? own->dimension() : rows.front().size();
    *vectors = allocate<float>(count * *dimension);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      std::copy(rows[row].begin(), rows[row].end(), *vectors + row * *dimension);
    }
  });
}

void bert_export_close(bert_export_pipeline* pipeline) {
  if (pipeline == nullptr) return;
  std::visit([](auto& own) { own.close(); }, pipeline->pipeline);
}

void bert_export_pipeline_free(bert_export_pipeline* pipeline) { delete pipeline; }

void bert_export_free(void* memory) { std::free(memory); }
