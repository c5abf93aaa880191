# sl_layer, sl_library, sl_test, sl_bench: everything that the folders' lists need.

add_library(sl_flags INTERFACE)
target_compile_definitions(sl_flags INTERFACE _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE SL_VERSION="${PROJECT_VERSION}")
target_compile_options(sl_flags INTERFACE -ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wvla -Wundef -Wno-unknown-pragmas)
target_include_directories(sl_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(sl_flags INTERFACE m)
if(SL_WERROR)
  target_compile_options(sl_flags INTERFACE -Werror)
endif()
if(SL_SANITIZE)
  target_compile_options(sl_flags INTERFACE -fsanitize=${SL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  target_link_options(sl_flags INTERFACE -fsanitize=${SL_SANITIZE})
endif()

set_property(GLOBAL PROPERTY SL_LAYERS "")

# sl_layer(NAME SOURCES... [LIBS...]): one folder of src/ as the static library sl_NAME, using the layers before it.
function(sl_layer name)
  cmake_parse_arguments(A "" "" "LIBS" ${ARGN})
  get_property(before GLOBAL PROPERTY SL_LAYERS)
  add_library(sl_${name} STATIC ${A_UNPARSED_ARGUMENTS})
  target_include_directories(sl_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  list(REVERSE before)
  target_link_libraries(sl_${name} PUBLIC ${before} sl_flags ${A_LIBS})
  set_property(GLOBAL APPEND PROPERTY SL_LAYERS sl_${name})
endfunction()

# The library that programs link: every layer, and only the public headers.
function(sl_library)
  get_property(layers GLOBAL PROPERTY SL_LAYERS)
  list(REVERSE layers)
  add_library(saelab INTERFACE)
  target_link_libraries(saelab INTERFACE ${layers})
endfunction()

# sl_test(NAME SOURCES... LIBS... LABELS...): one cmocka program under ctest. Exit 77 is a skip. Tests may see src/.
function(sl_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  add_executable(test_${name} ${A_UNPARSED_ARGUMENTS})
  target_link_libraries(test_${name} PRIVATE sl_test_support ${A_LIBS} PkgConfig::CMOCKA)
  add_test(NAME ${name} COMMAND test_${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  # GOMP_SPINCOUNT: threads that wait at a barrier sleep soon, so that tests may run side by side on few cores
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "GOMP_SPINCOUNT=1000")
endfunction()

# sl_script_test(NAME LABELS... COMMAND ...): a script under ctest.
function(sl_script_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "LABELS;COMMAND" ${ARGN})
  add_test(NAME ${name} COMMAND ${A_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "GOMP_SPINCOUNT=1000;SAELAB_BIN=$<TARGET_FILE:saelab_cli>;SAELAB_BUILD=${PROJECT_BINARY_DIR}")
endfunction()

# sl_bench(NAME SOURCES... LIBS...): a benchmark program, bench_NAME; ./run bench NAME starts it. All have bench/figures.h.
function(sl_bench name)
  cmake_parse_arguments(A "" "" "LIBS" ${ARGN})
  add_executable(bench_${name} ${A_UNPARSED_ARGUMENTS} ${PROJECT_SOURCE_DIR}/bench/figures.c)
  target_include_directories(bench_${name} PRIVATE ${PROJECT_SOURCE_DIR}/bench)
  target_compile_definitions(bench_${name} PRIVATE SL_BENCH_PEERS="${PROJECT_SOURCE_DIR}/bench/peers") # programs of the peers
  target_link_libraries(bench_${name} PRIVATE ${A_LIBS})
endfunction()
