# The version that ../CMakeLists.txt states; one of another minor version does not fit.
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../CMakeLists.txt" _bert_export_project
  REGEX "^project\\(bert_export VERSION ")
string(REGEX REPLACE "^.*VERSION ([0-9.]+).*$" "\\1" PACKAGE_VERSION "${_bert_export_project}")
unset(_bert_export_project)
string(REGEX REPLACE "^([0-9]+\\.[0-9]+).*$" "\\1" _bert_export_line "${PACKAGE_VERSION}")
if(PACKAGE_FIND_VERSION MATCHES "^${_bert_export_line}(\\.|$)" AND
   PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
unset(_bert_export_line)
