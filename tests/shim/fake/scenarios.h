#pragma once

// What the fake application goes through; each says what was wrong by expect().
namespace fake_cudnn {

void legacy();                          // searches, descriptors that cannot be read, lies
void fork_in_the_middle();              // the child asks, and the parent after it
void end_during_a_query(bool at_once);  // another thread waits for the daemon
void daemon_comes_and_goes();           // a line on stdin when it is gone, and when it is back
void executions_are_timed();            // by events of the fake driver
void rarely_listed_entries();           // are tried where an answer begins with them
void compiled_plans();                  // are loaded where they are stored
void an_answer_that_is_searched();      // is long enough for that
void compiles_itself();                 // where it has no plan
void loads_its_plan();                  // where it has one
void a_refused_configuration();         // becomes the first entry
void threads_share_a_configuration();   // which is built when the first of them uses it
void an_unusable_descriptor();          // in the place of the first configuration
void a_thread_is_cancelled();           // while it asks; the process goes on
void handles_of_two_gpus();             // whichever is current
void dlsym_is_hooked();                 // by another library too
void everything_is_refused();           // stays until stdin ends

}  // namespace fake_cudnn
