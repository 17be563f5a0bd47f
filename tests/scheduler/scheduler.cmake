# The scheduler once more, in a build that can make deliberate mistakes: for mutants_test alone.
file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/scheduler/*.c ${PROJECT_SOURCE_DIR}/scheduler/sim/*.c)
add_library(mr_scheduler_mutants STATIC ${found})
target_compile_definitions(mr_scheduler_mutants PUBLIC MR_MUTANTS)
target_include_directories(mr_scheduler_mutants PUBLIC ${PROJECT_SOURCE_DIR})
target_link_libraries(mr_scheduler_mutants PUBLIC mr_kv)
add_executable(scheduler_mutants_test ${PROJECT_SOURCE_DIR}/tests/scheduler/mutants/mutants_test.c)
target_link_libraries(scheduler_mutants_test PRIVATE mr_scheduler_mutants)
set_target_properties(scheduler_mutants_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
add_test(NAME scheduler/mutants COMMAND scheduler_mutants_test)
set_tests_properties(scheduler/mutants PROPERTIES TIMEOUT 300)

# What a plan costs: build/tests/plan_bench [REPLAYS].
add_executable(plan_bench EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/bench/plan_bench.c)
target_link_libraries(plan_bench PRIVATE mr_scheduler)
set_target_properties(plan_bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)

# The same plans from the same calls, whatever compiled them (I18).
add_test(NAME scheduler/digest COMMAND ${PROJECT_SOURCE_DIR}/tests/scheduler/digest/run)
set_tests_properties(scheduler/digest PROPERTIES TIMEOUT 300)

# What the scenarios show, with the bounds of their claims.
if(NOT MILLRACE_SANITIZE)
  add_test(NAME scheduler/claims COMMAND millrace sim --all ${PROJECT_SOURCE_DIR}/tests/scheduler/scenarios)
  set_tests_properties(scheduler/claims PROPERTIES TIMEOUT 300)
endif()
