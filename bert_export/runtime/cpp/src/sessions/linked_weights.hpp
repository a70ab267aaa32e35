// A graph beside its weights, where a model hub keeps both elsewhere.
#pragma once

#include <string>

namespace bert_export::sessions {

// A path of the graph with its weights in the same folder, as OpenVINO from 2026.3 on wants it.
//
// Model hubs keep a model's files under other names elsewhere, and links in its folder. Then both are
// linked once more, as files; where the file system cannot, they are copied.
class BesideItsWeights {
 public:
  // `kept` is this graph's folder in a cache, which knows graphs by their paths; with none the folder
  // is there only as long as this object. Throws BundleError where a file cannot be linked or copied.
  BesideItsWeights(const std::string& graph, const std::string& kept);
  BesideItsWeights(const BesideItsWeights&) = delete;
  BesideItsWeights& operator=(const BesideItsWeights&) = delete;
  ~BesideItsWeights();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  // To be removed at the end.
  std::string temporary_;
};

}  // namespace bert_export::sessions
