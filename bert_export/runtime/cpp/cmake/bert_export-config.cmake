# find_package(bert_export) in the Python package itself, where nothing is built yet: the library
# becomes a part of the build that asks for it. What is installed has a configuration of its own.
if(NOT TARGET bert_export::bert_export)
  get_filename_component(_bert_export_sources "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
  add_subdirectory("${_bert_export_sources}" "${CMAKE_BINARY_DIR}/bert_export" EXCLUDE_FROM_ALL)
  unset(_bert_export_sources)
endif()
