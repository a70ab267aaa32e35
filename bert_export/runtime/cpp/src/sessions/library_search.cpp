#include "sessions/library_search.hpp"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <sstream>

#include "bert_export/errors.hpp"
#include "bundle/files.hpp"

namespace bert_export::sessions {
namespace {

std::vector<std::string> matches(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found{};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  return paths;
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Where Python may be installed: the active environment, then the folders of the search path.
std::vector<std::string> python_prefixes() {
  std::vector<std::string> prefixes;
  for (const char* const name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string prefix = variable(name); !prefix.empty()) prefixes.push_back(prefix);
  }
  std::istringstream folders(variable("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (bundle::is_file(folder + "/python3")) prefixes.push_back(folder + "/..");
  }
  return prefixes;
}

// The path itself, or the libraries in it where it is a folder.
std::vector<std::string> candidates_at(const std::string& path, const EngineLibrary& engine) {
  if (!bundle::is_folder(path)) return {path};
  return matches(path + "/" + engine.stem + "*");
}

std::vector<std::string> wheels(const EngineLibrary& engine) {
  std::vector<std::string> paths;
  for (const std::string& prefix : python_prefixes()) {
    const std::string folder =
        prefix + "/lib/python3*/*-packages/" + engine.folder;
    for (std::string& path : matches(folder + "/" + engine.stem + "*")) {
      paths.push_back(std::move(path));
    }
  }
  return paths;
}

// The first of the libraries that opens; else nullptr, and what the loader said.
void* open_first(const std::vector<std::string>& paths, std::string& said) {
  for (const std::string& path : paths) {
    if (void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    said = ::dlerror();
  }
  return nullptr;
}

}  // namespace

void* open_library(const EngineLibrary& engine, const std::string& asked) {
  const std::string named = asked.empty() ? variable(engine.variable) : asked;
  const std::string package = engine.package;
  std::string said;
  if (!named.empty()) {
    if (void* const library = open_first(candidates_at(named, engine), said)) return library;
    throw TargetError("library " + named + " cannot be opened",
                      {"the shared library of " + package, said.empty() ? "no such file" : said});
  }
  if (void* const library = open_first(wheels(engine), said)) return library;
  const std::vector<std::string> names(engine.names.begin(), engine.names.end());
  if (void* const library = open_first(names, said)) return library;
  throw TargetError("engine " + package + " is not installed",
                    {"its Python package or its shared library", said,
                     "Run: pip install " + package + ", or name the library in " + engine.variable});
}

}  // namespace bert_export::sessions
