// What the library shows: everything else is hidden.
#pragma once

#if defined(BERT_EXPORT_STATIC)
#define BERT_EXPORT_API
#else
#define BERT_EXPORT_API __attribute__((visibility("default")))
#endif
