#include "sessions/linked_weights.hpp"

#include <cstdlib>
#include <filesystem>

#include <unistd.h>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"

namespace bert_export::sessions {
namespace {

namespace fs = std::filesystem;

// Gives a file a second name, or a copy; whole even where another process does the same.
void link_file(const fs::path& source, const fs::path& target) {
  fs::path whole = target;
  whole += "." + std::to_string(::getpid());
  std::error_code refused;
  fs::create_hard_link(source, whole, refused);
  if (refused) fs::copy_file(source, whole, fs::copy_options::overwrite_existing);
  fs::rename(whole, target);
}

std::string make_temporary() {
  std::string name = (fs::temp_directory_path() / "bert-export-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw fs::filesystem_error("no temporary folder", name,
                               std::error_code(errno, std::generic_category()));
  }
  return name;
}

}  // namespace

BesideItsWeights::BesideItsWeights(const std::string& graph, const std::string& kept)
    : path_(graph) {
  const fs::path given(graph);
  const fs::path weights = given.parent_path() / bundle::weights_file;
  try {
    if (!fs::is_symlink(weights) ||
        fs::canonical(weights).parent_path() == fs::canonical(given.parent_path())) {
      return;
    }
    if (kept.empty()) temporary_ = make_temporary();
    const fs::path place = kept.empty() ? fs::path(temporary_) : fs::path(kept) / "graph";
    fs::create_directories(place);
    for (const fs::path& file : {given, weights}) {
      const fs::path target = place / file.filename();
      if (!fs::exists(target)) link_file(fs::canonical(file), target);
    }
    path_ = (place / given.filename()).string();
  } catch (const fs::filesystem_error& error) {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
    throw BundleError("graph " + graph + " cannot be put beside its weights",
                      {"files that can be linked or copied", error.code().message()});
  }
}

BesideItsWeights::~BesideItsWeights() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

}  // namespace bert_export::sessions
