# The simulated world is a library of its own, so that other tests can use it.
add_library(sim_world STATIC ${PROJECT_SOURCE_DIR}/tests/sim/sim_world.c ${PROJECT_SOURCE_DIR}/tests/sim/sim_store.c
            ${PROJECT_SOURCE_DIR}/tests/sim/sim_judge.c)
target_link_libraries(sim_world PUBLIC mr_worker mr_adapters)
room_tests(sim sim_world)
target_link_libraries(sim_check_test PRIVATE mr_cli)
