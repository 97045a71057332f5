// What the shim makes of the attributes that an application sets, without cuDNN.
#include "libclient/shim/descriptors.h"
#include "libclient/shim/sampler.h"
#include "tests/model/allocation_counter.h"

#include <boost/test/unit_test.hpp>

#include <initializer_list>
#include <optional>
#include <vector>

namespace {

using namespace reformer::shim;
namespace core = reformer::core;

// An application's descriptors, by made-up addresses.
class Application {
 public:
  Descriptors descriptors;

  cudnnBackendDescriptor_t make(std::uintptr_t address, cudnnBackendDescriptorType_t type) {
    auto* descriptor = reinterpret_cast<cudnnBackendDescriptor_t>(address * 64);
    descriptors.put(descriptor, record_for(type));
    return descriptor;
  }
  void destroy(std::uintptr_t address) {
    descriptors.take(reinterpret_cast<cudnnBackendDescriptor_t>(address * 64));
  }
  template <typename T>
  void set(cudnnBackendDescriptor_t descriptor,
           cudnnBackendAttributeName_t name,
           cudnnBackendAttributeType_t type,
           std::initializer_list<T> values) {
    note_attribute(descriptors,
                   descriptor,
                   name,
                   type,
                   static_cast<std::int64_t>(values.size()),
                   values.begin());
  }
  cudnnBackendDescriptor_t tensor(std::uintptr_t address,
                                  std::int64_t id,
                                  std::initializer_list<std::int64_t> dims,
                                  std::initializer_list<std::int64_t> strides,
                                  bool is_virtual = false) {
    auto* made = make(address, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_HALF});
    set(made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, dims);
    set(made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides);
    set<std::int64_t>(made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {16});
    set<std::int64_t>(made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {id});
    set(made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, {is_virtual});
    return made;
  }
  // y = conv(x, w), then z = mode(y, b), in tensors named from `first_id`.
  std::optional<core::Problem> graph(std::int64_t first_id,
                                     cudnnPointwiseMode_t mode,
                                     bool fused = true) {
    auto* x = tensor(1, first_id, {8, 64, 28, 28}, {50176, 1, 1792, 64});
    auto* w = tensor(2, first_id + 1, {64, 64, 3, 3}, {576, 1, 192, 64});
    auto* y = tensor(3, first_id + 2, {8, 64, 28, 28}, {50176, 1, 1792, 64}, fused);
    auto* b = tensor(4, first_id + 3, {1, 64, 1, 1}, {64, 1, 64, 64});
    auto* z = tensor(5, first_id + 4, {8, 64, 28, 28}, {50176, 1, 1792, 64});
    auto* convolution = make(6, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(convolution, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT});
    set(convolution,
        CUDNN_ATTR_CONVOLUTION_CONV_MODE,
        CUDNN_TYPE_CONVOLUTION_MODE,
        {CUDNN_CROSS_CORRELATION});
    set<std::int64_t>(convolution, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {2});
    for (const auto name :
         {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS}) {
      set<std::int64_t>(convolution, name, CUDNN_TYPE_INT64, {1, 1});
    }
    auto* operation = make(7, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    const auto part = [&](cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t of) {
      set(operation, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {of});
    };
    part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution);
    part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    auto* pointwise = make(8, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(pointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, {mode});
    auto* applied = make(9, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    const auto role = [&](cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t of) {
      set(applied, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {of});
    };
    role(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise);
    role(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, y);
    role(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    role(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, z);
    auto* whole = make(10, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (fused) {
      set(whole,
          CUDNN_ATTR_OPERATIONGRAPH_OPS,
          CUDNN_TYPE_BACKEND_DESCRIPTOR,
          {operation, applied});
    } else {
      set(whole, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, {operation});
    }
    std::optional<core::Problem> problem;
    descriptors.with<GraphRecord>(whole,
                                  [&](const GraphRecord& record) { problem = record.problem; });
    for (std::uintptr_t address = 1; address <= 10; ++address) {
      destroy(address);
    }
    return problem;
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(graphs)

BOOST_AUTO_TEST_CASE(a_graph_for_several_sizes_is_not_one_problem) {
  Application app;
  auto* graph = app.make(1, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  const auto strange = [&] { return app.descriptors.copy<GraphRecord>(graph)->strange; };
  app.set(graph, CUDNN_ATTR_OPERATIONGRAPH_IS_DYNAMIC_SHAPE_ENABLED, CUDNN_TYPE_BOOLEAN, {false});
  BOOST_TEST(!strange());
  app.set(graph, CUDNN_ATTR_OPERATIONGRAPH_IS_DYNAMIC_SHAPE_ENABLED, CUDNN_TYPE_BOOLEAN, {true});
  BOOST_TEST(strange());
}

BOOST_AUTO_TEST_CASE(a_convolution_alone_has_no_fusion) {
  Application application;
  const auto problem = application.graph(1, CUDNN_POINTWISE_ADD, false);
  BOOST_TEST_REQUIRE(problem.has_value());
  BOOST_TEST(problem->fusion == 0u);
  BOOST_TEST(problem->x.dims[1] == 64);
}

BOOST_AUTO_TEST_CASE(what_is_fused_makes_another_problem_and_the_names_of_tensors_do_not) {
  Application application;
  const auto added = application.graph(1, CUDNN_POINTWISE_ADD);
  const auto again = application.graph(1, CUDNN_POINTWISE_ADD);
  const auto renamed = application.graph(71, CUDNN_POINTWISE_ADD);
  const auto multiplied = application.graph(1, CUDNN_POINTWISE_MUL);
  BOOST_TEST_REQUIRE((added && again && renamed && multiplied));
  BOOST_TEST(added->fusion != 0u);
  BOOST_TEST((*added == *again));
  BOOST_TEST((*added == *renamed));
  BOOST_TEST(added->fusion != multiplied->fusion);
}

BOOST_AUTO_TEST_CASE(a_lone_convolution_into_a_virtual_tensor_is_not_understood) {
  Application application;
  auto* x = application.tensor(1, 1, {8, 64, 28, 28}, {50176, 784, 28, 1}, true);
  OperationRecord operation;
  operation.x = operation.y = application.descriptors.copy<TensorRecord>(x);
  operation.w = operation.x;
  operation.convolution = ConvolutionRecord{};
  BOOST_TEST(!problem_of(operation).has_value());
}

BOOST_AUTO_TEST_CASE(describing_graphs_again_allocates_nothing) {
  Application application;
  for (int round = 0; round < 40; ++round) {  // until every shard has what it needs
    (void)application.graph(1, CUDNN_POINTWISE_ADD);
  }
  const std::size_t before = reformer::model::testing::allocations();
  for (int round = 0; round < 40; ++round) {
    (void)application.graph(1, CUDNN_POINTWISE_ADD);
  }
  BOOST_TEST(reformer::model::testing::allocations() - before == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(sampling)

BOOST_AUTO_TEST_CASE(few_executions_are_timed_and_never_the_first_ones) {
  std::vector<std::uint64_t> due;
  for (std::uint64_t execution = 1; execution <= 4096; ++execution) {
    if (Sampler::is_due(execution)) {
      due.push_back(execution);
    }
  }
  const std::vector<std::uint64_t> expected{
      4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096};
  BOOST_TEST(due == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(without_a_driver_nothing_is_sampled) {
  Sampler sampler;
  BOOST_TEST(!sampler.begin(nullptr));
  sampler.collect();
}

BOOST_AUTO_TEST_SUITE_END()
