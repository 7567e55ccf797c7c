# For find_package(extism): the targets extism::extism, which is the shared library, and extism::extism-static.

get_filename_component(_extism_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET extism::extism)
  add_library(extism::extism SHARED IMPORTED)
  set_target_properties(extism::extism PROPERTIES
    IMPORTED_LOCATION "${_extism_prefix}/lib/libextism.so.@version@"
    IMPORTED_SONAME "@soname@"
    INTERFACE_INCLUDE_DIRECTORIES "${_extism_prefix}/include")
endif()

if(NOT TARGET extism::extism-static)
  add_library(extism::extism-static STATIC IMPORTED)
  set_target_properties(extism::extism-static PROPERTIES
    IMPORTED_LOCATION "${_extism_prefix}/lib/libextism.a"
    # As in extism-static.pc.
    INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;pthread;m;dl;c"
    INTERFACE_INCLUDE_DIRECTORIES "${_extism_prefix}/include")
endif()

unset(_extism_prefix)
