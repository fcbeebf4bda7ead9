#include "cuda/cublaslt.h"

#include <algorithm>
#include <array>
#include <cublasLt.h>
#include <dlfcn.h>
#include <map>

#include "base/error.h"

namespace krasis::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what cuBLAS advises for Hopper
constexpr std::size_t kMaxChoices = 4096;

constexpr std::array<const char*, 4> kNames = {
    "libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.13",
    "/usr/local/cuda-13/lib64/libcublasLt.so.13", "/usr/local/cuda-13.0/lib64/libcublasLt.so.13"};

void require(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
  throw Error(
      memory ? ErrorCode::OutOfMemory : ErrorCode::Device,
      std::string("cublaslt: ") + doing + ": status " + std::to_string(static_cast<int>(status)));
}

// Largest power of two up to 256 that divides both.
std::uint32_t alignment_of(const void* pointer, std::int64_t stride_bytes) {
  const auto bits = reinterpret_cast<std::uintptr_t>(pointer) |
                    static_cast<std::uintptr_t>(stride_bytes) | std::uintptr_t{256};
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

// What the choice of an algorithm depends on.
using Key = std::array<std::int64_t, 14>;

bool rounds(const DenseProduct& p) {
  return p.rounded_out != nullptr;
}
void* out_of(const DenseProduct& p) {
  return rounds(p) ? static_cast<void*>(p.rounded_out) : p.out;
}

Key key_of(const DenseProduct& p) {
  const std::int64_t element = rounds(p) ? 2 : 4;
  return {p.rows,
          p.columns,
          p.tokens,
          p.weight_stride,
          p.x_stride,
          p.out_stride,
          p.batch,
          p.weight_step,
          p.x_step,
          p.out_step,
          p.bias != nullptr,
          p.weight_transposed,
          element,
          alignment_of(out_of(p), (p.out_stride | p.out_step) * element)};
}

}  // namespace

struct CublasLt::Library {
  void* file = nullptr;
  cublasLtHandle_t handle = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> choices;

  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_operation = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) set_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;

  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle != nullptr) destroy(handle);
    if (file != nullptr) dlclose(file);
  }

  template <class Function>
  bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(file, name));
    return function != nullptr;
  }

  bool find_all() {
    return find(create, "cublasLtCreate") && find(destroy, "cublasLtDestroy") &&
           find(matmul, "cublasLtMatmul") && find(heuristic, "cublasLtMatmulAlgoGetHeuristic") &&
           find(create_operation, "cublasLtMatmulDescCreate") &&
           find(destroy_operation, "cublasLtMatmulDescDestroy") &&
           find(set_operation, "cublasLtMatmulDescSetAttribute") &&
           find(create_layout, "cublasLtMatrixLayoutCreate") &&
           find(destroy_layout, "cublasLtMatrixLayoutDestroy") &&
           find(set_layout, "cublasLtMatrixLayoutSetAttribute") &&
           find(create_preference, "cublasLtMatmulPreferenceCreate") &&
           find(destroy_preference, "cublasLtMatmulPreferenceDestroy") &&
           find(set_preference, "cublasLtMatmulPreferenceSetAttribute");
  }
};

namespace {

// One product in the library's words. It thinks in columns: a row-major matrix is its transpose.
template <class Library>
class Description {
 public:
  Description(const Library& library, const DenseProduct& p) : library_(library) {
    require(library.create_operation(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
            "describing a product");
    const cublasOperation_t of_weight = p.weight_transposed ? CUBLAS_OP_N : CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, of_weight);
    if (p.bias != nullptr) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    }
    const Sizes of_rows = {p.columns, p.rows, p.weight_stride};
    const Sizes of_columns = {p.rows, p.columns, p.weight_stride};
    layout(weight, CUDA_R_16BF, p.weight_transposed ? of_columns : of_rows,
           {p.batch, p.weight_step});
    layout(x, CUDA_R_16BF, {p.columns, p.tokens, p.x_stride}, {p.batch, p.x_step});
    layout(out, rounds(p) ? CUDA_R_16BF : CUDA_R_32F, {p.rows, p.tokens, p.out_stride},
           {p.batch, p.out_step});
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  ~Description() {
    for (const cublasLtMatrixLayout_t one : {weight, x, out})
      if (one != nullptr) library_.destroy_layout(one);
    if (operation != nullptr) library_.destroy_operation(operation);
  }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, out = nullptr;

 private:
  struct Sizes {
    std::int64_t rows, columns, stride;
  };
  struct Batch {
    std::int64_t count, step;
  };

  template <class Value>
  void set(cublasLtMatmulDescAttributes_t which, const Value& value) {
    require(library_.set_operation(operation, which, &value, sizeof(value)),
            "describing a product");
  }

  void layout(cublasLtMatrixLayout_t& one, cudaDataType_t type, Sizes sizes, Batch batch) {
    require(library_.create_layout(&one, type, static_cast<std::uint64_t>(sizes.rows),
                                   static_cast<std::uint64_t>(sizes.columns), sizes.stride),
            "describing a matrix");
    const auto count = static_cast<std::int32_t>(batch.count);
    require(library_.set_layout(one, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
            "describing a matrix");
    require(library_.set_layout(one, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch.step,
                                sizeof(batch.step)),
            "describing a matrix");
  }

  const Library& library_;
};

template <class Library>
cublasLtMatmulAlgo_t choose(const Library& library, const Description<Library>& description,
                            std::uint32_t out_alignment) {
  cublasLtMatmulPreference_t preference = nullptr;
  require(library.create_preference(&preference), "making a preference");
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>,
                        decltype(library.destroy_preference)>
      owner(preference, library.destroy_preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
    require(library.set_preference(preference, which, &value, sizeof(value)),
            "setting a preference");
  };
  constexpr std::uint32_t kOperandAlignment = 16;
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kOperandAlignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kOperandAlignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out_alignment);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  require(
      library.heuristic(library.handle, description.operation, description.weight, description.x,
                        description.out, description.out, preference, 1, &result, &found),
      "choosing an algorithm");
  if (found == 0) throw Error(ErrorCode::Device, "cublaslt: no algorithm for a product");
  return result.algo;
}

}  // namespace

CublasLt::CublasLt(std::unique_ptr<Library> library) : library_(std::move(library)) {}
CublasLt::~CublasLt() = default;

std::unique_ptr<CublasLt> CublasLt::load(std::string* why) {
  auto library = std::make_unique<Library>();
  std::string tried;
  for (const char* name : kNames) {
    library->file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library->file != nullptr) break;
    tried += std::string(tried.empty() ? "" : ", ") + name;
  }
  std::string problem;
  if (library->file == nullptr) {
    problem = "none of " + tried + " can be opened";
  } else if (!library->find_all()) {
    problem = "libcublasLt.so.13 lacks a function";
  } else if (library->create(&library->handle) != CUBLAS_STATUS_SUCCESS) {
    library->handle = nullptr;
    problem = "libcublasLt.so.13 does not start on this device";
  }
  if (problem.empty()) return std::unique_ptr<CublasLt>(new CublasLt(std::move(library)));
  if (why != nullptr) *why = "cublaslt: " + problem;
  return nullptr;
}

void CublasLt::multiply(const DenseProduct& p, const Launch& launch) {
  if (p.rows == 0 || p.tokens == 0 || p.batch == 0) return;
  const Description<Library> description(*library_, p);
  const Key key = key_of(p);
  auto choice = library_->choices.find(key);
  if (choice == library_->choices.end()) {
    if (library_->choices.size() >= kMaxChoices) library_->choices.clear();
    const auto alignment = static_cast<std::uint32_t>(key.back());
    choice = library_->choices.emplace(key, choose(*library_, description, alignment)).first;
  }
  void* workspace = launch.scratch.take(kWorkspaceBytes);
  const float one = 1;
  const float kept = p.adds ? 1 : 0;
  require(
      library_->matmul(library_->handle, description.operation, &one, p.weight, description.weight,
                       p.x, description.x, &kept, out_of(p), description.out, out_of(p),
                       description.out, &choice->second, workspace, kWorkspaceBytes, launch.stream),
      "a product");
}

}  // namespace krasis::cuda
