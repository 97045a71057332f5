/* What a user's C program looks like: no daemon is there, so the answer is an abstention. */
#include <reformer.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  reformer_problem problem;
  if (reformer_problem_parse("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1", &problem) !=
      REFORMER_OK) {
    return 1;
  }
  const reformer_options options = {.socket_path = "/nonexistent/socket"};
  reformer_client* client = NULL;
  if (reformer_connect(&options, &client) != REFORMER_OK) {
    return 2;
  }
  const reformer_context context = {.device_name = "NVIDIA H200",
                                    .compute_capability = 90,
                                    .sm_count = 132,
                                    .cudnn_version = 91900};
  uint32_t context_id = 0;
  if (reformer_add_context(client, &context, &context_id) != REFORMER_OK) {
    return 3;
  }
  reformer_decision decision;
  const reformer_status status = reformer_query(client, context_id, &problem, NULL, &decision);
  reformer_disconnect(client);
  printf("%s\n", reformer_version());
  return status == REFORMER_UNAVAILABLE && decision.source == REFORMER_SOURCE_ABSTAIN ? 0 : 4;
}
