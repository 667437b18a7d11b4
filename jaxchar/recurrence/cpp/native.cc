// The functions that XLA calls: layers of LSTM or GRU with their gradients, and texts, for processors.
//
// They compute what fused.py and jax_decoder.py compute in JAX. On a processor XLA spends half of a small step
// between its operations. Here a slice of the batch passes through all time steps on one thread, and the
// kernels are packed for the products. A text's memory is looked up here, too. native.py builds this file at
// first use; native_layer.py, native_decoder.py and native_memory.py call it.

#include <string>
#include <string_view>

#include "layer.h"
#include "memory.h"
#include "randomness.h"
#include "text.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using namespace jaxchar;
using Ids = ffi::Buffer<ffi::S32>;
using Array = ffi::Buffer<ffi::F32>;
using NewArray = ffi::Result<Array>;

// The numbers of an array. Absent arrays are zero-sized: a null pointer.
const float* numbers(Array array) { return array.element_count() ? array.typed_data() : nullptr; }
float* numbers(NewArray array) { return array->element_count() ? array->typed_data() : nullptr; }

Inputs inputs_of(const Ids& ids, const Array& scale, const Array& rows, Size features) {
  const bool are_symbols = ids.element_count() > 0;
  return {are_symbols ? 0 : features, are_symbols ? features : 0, numbers(rows),
          are_symbols ? ids.typed_data() : nullptr, numbers(scale)};
}

template <class Cell>
void forward(ffi::ThreadPool pool, Ids ids, Array scale, Array rows, Array input_kernel, Array bias,
             Array recurrent_kernel, Array first_state, Array first_hidden, Array mask, NewArray hiddens,
             NewArray states, NewArray saved) {
  const auto sizes = hiddens->dimensions();
  const bool has_memory = states->element_count() > 0;
  Forward<Cell> layer{};
  layer.T = sizes[0];
  layer.B = sizes[1];
  layer.H = sizes[2];
  layer.inputs = inputs_of(ids, scale, rows, input_kernel.dimensions()[0]);
  layer.input_kernel = input_kernel.typed_data();
  layer.bias = bias.typed_data();
  layer.recurrent_kernel = recurrent_kernel.typed_data();
  layer.state_0 = numbers(has_memory ? first_state : first_hidden);
  layer.hidden_0 = numbers(first_hidden);
  layer.mask = numbers(mask);
  layer.hiddens = numbers(hiddens);
  layer.states = numbers(has_memory ? states : hiddens);
  layer.saved = numbers(saved);
  layer.run(pool);
}

template <class Cell>
void backward(ffi::ThreadPool pool, Array input_kernel, Array recurrent_kernel, Array first_state,
              Array states, Array saved, Array d_hiddens, Array d_last_state, Array d_last_hidden, Array mask,
              NewArray d_projected, NewArray d_recurrent, NewArray d_rows, NewArray d_state,
              NewArray d_hidden) {
  const auto sizes = d_hiddens.dimensions();
  const bool is_shared = d_recurrent->element_count() == 0;
  std::memmove(d_hidden->typed_data(), d_last_hidden.typed_data(), d_hidden->size_bytes());
  std::memmove(d_state->typed_data(), d_last_state.typed_data(), d_state->size_bytes());
  Backward<Cell> layer{};
  layer.T = sizes[0];
  layer.B = sizes[1];
  layer.D = input_kernel.dimensions()[0];
  layer.H = sizes[2];
  layer.input_kernel = numbers(input_kernel);
  layer.recurrent_kernel = numbers(recurrent_kernel);
  layer.state_0 = numbers(first_state);
  layer.mask = numbers(mask);
  layer.states = numbers(states);
  layer.saved = numbers(saved);
  layer.d_hiddens = numbers(d_hiddens);
  layer.d_projected = numbers(d_projected);
  layer.d_recurrent = numbers(is_shared ? d_projected : d_recurrent);
  layer.d_rows = numbers(d_rows);
  layer.d_state = numbers(d_state);
  layer.d_hidden = numbers(d_hidden);
  layer.run(pool);
}

ffi::Error weight_gradients(ffi::ThreadPool pool, Ids ids, Array scale, Array rows, Array first_hidden,
                            Array hiddens, Array d_projected, Array d_recurrent, NewArray d_input_kernel,
                            NewArray d_bias, NewArray d_recurrent_kernel) {
  const auto sizes = hiddens.dimensions();
  WeightGradients layer{};
  layer.T = sizes[0];
  layer.B = sizes[1];
  layer.H = sizes[2];
  layer.G = d_bias->dimensions()[0];
  layer.inputs = inputs_of(ids, scale, rows, d_input_kernel->dimensions()[0]);
  layer.hidden_0 = numbers(first_hidden);
  layer.hiddens = numbers(hiddens);
  layer.d_projected = numbers(d_projected);
  layer.d_recurrent = numbers(d_recurrent.element_count() ? d_recurrent : d_projected);
  layer.d_input_kernel = numbers(d_input_kernel);
  layer.d_bias = numbers(d_bias);
  layer.d_recurrent_kernel = numbers(d_recurrent_kernel);
  layer.run(pool);
  return ffi::Error::Success();
}

// The arguments of one layer follow those of the layer before, and so do the results, in these orders.
enum LayerArgument {
  INPUT_PANELS,
  INPUT_SCALES,
  BIAS,
  RECURRENT_PANELS,
  RECURRENT_SCALES,
  STATE,
  HIDDEN,
  LAYER_ARGUMENTS
};
enum LayerResult { NEW_STATE, NEW_HIDDEN, LAYER_RESULTS };

void copy(NewArray to, Array from) { std::memmove(to->typed_data(), from.typed_data(), from.size_bytes()); }
void copy(ffi::Result<Ids> to, Ids from) {
  std::memmove(to->typed_data(), from.typed_data(), from.size_bytes());
}

// Weights of any of the types that texts can be read and written with.
Panels panels_of(const ffi::AnyBuffer& panels, const Array& scales) {
  Panels found{};
  if (!panels.element_count()) return found;
  const void* data = panels.untyped_data();
  found.scales = numbers(scales);
  if (panels.element_type() == ffi::S8) {
    found.bytes = static_cast<const int8_t*>(data);
  } else if (panels.element_type() == ffi::BF16) {
    found.halves = static_cast<const uint16_t*>(data);
  } else {
    found.floats = static_cast<const float*>(data);
  }
  return found;
}

template <class Cell>
void advance_texts(ffi::ThreadPool pool, bool windowed, Ids ids, Ids lengths, Array noise, Array temperature,
                   Ids noise_begin, Ids last, Ids position, Array table, Array head_panels, Array head_bias,
                   ffi::RemainingArgs arguments, ffi::Result<Ids> new_last, ffi::Result<Ids> new_position,
                   ffi::Result<Ids> sampled, NewArray logits, ffi::RemainingRets results) {
  Texts<Cell> texts{};
  texts.R = 1;
  Size D = 0;  // the first layer's inputs are in the table
  for (size_t i = 0; i * LAYER_ARGUMENTS < arguments.size(); i++) {
    auto argument = [&](Size k) { return *arguments.get<Array>(i * LAYER_ARGUMENTS + k); };
    auto panels = [&](Size k) {
      return panels_of(*arguments.get<ffi::AnyBuffer>(i * LAYER_ARGUMENTS + k), argument(k + 1));
    };
    auto result = [&](Size k) { return *results.get<Array>(i * LAYER_RESULTS + k); };
    copy(result(NEW_STATE), argument(STATE));
    copy(result(NEW_HIDDEN), argument(HIDDEN));
    TextLayer layer{};
    layer.D = D;
    layer.H = argument(HIDDEN).dimensions()[2];
    layer.input_panels = panels(INPUT_PANELS);
    layer.bias = numbers(argument(BIAS));
    layer.recurrent_panels = panels(RECURRENT_PANELS);
    layer.hiddens = numbers(result(NEW_HIDDEN));
    const bool has_memory = argument(STATE).element_count() > 0;
    layer.states = has_memory ? numbers(result(NEW_STATE)) : layer.hiddens;
    texts.layers.push_back(layer);
    texts.R = argument(HIDDEN).dimensions()[1];
    D = layer.H;
  }
  copy(new_last, last);
  copy(new_position, position);
  texts.B = ids.dimensions()[0];
  texts.N = ids.dimensions()[1];
  texts.V = head_bias.dimensions()[0];
  texts.windowed = windowed;
  texts.table = numbers(table);
  texts.head_panels.floats = numbers(head_panels);
  texts.head_bias = numbers(head_bias);
  texts.ids = ids.typed_data();
  texts.lengths = lengths.typed_data();
  texts.noise = numbers(noise);
  texts.temperature = *temperature.typed_data();
  texts.noise_begin = *noise_begin.typed_data();
  texts.last = new_last->typed_data();
  texts.position = new_position->typed_data();
  texts.sampled = sampled->typed_data();
  texts.logits = numbers(logits);
  texts.run(pool);
}

auto random_bits = [](ffi::ThreadPool pool, ffi::Buffer<ffi::U32> keys, Ids first,
                      ffi::Result<ffi::Buffer<ffi::U32>> bits) {
  const auto sizes = bits->dimensions();
  RandomBits texts{};
  texts.B = sizes[0];
  texts.N = sizes[1];
  texts.V = sizes[2];
  texts.first = uint32_t(*first.typed_data());
  texts.keys = keys.typed_data();
  texts.bits = bits->typed_data();
  texts.run(pool);
  return ffi::Error::Success();
};

// The arrays of a text's index: memory/text_index.py has them in this order.
struct IndexArrays {
  ffi::AnyBuffer text, next;
  Ids positions, orders, common_keys, common_first, common_symbols, common_counts;

  template <class Id>
  TextIndex<Id> of(Size V) const {
    TextIndex<Id> index{};
    index.N = positions.element_count();
    index.V = V;
    index.K = orders.element_count();
    index.orders = orders.typed_data();
    index.text = static_cast<const Id*>(text.untyped_data());
    index.next = static_cast<const Id*>(next.untyped_data());
    index.positions = positions.typed_data();
    index.common = common_keys.dimensions()[0];
    index.common_keys = common_keys.typed_data();
    index.common_first = common_first.typed_data();
    index.common_symbols = common_symbols.typed_data();
    index.common_counts = common_counts.typed_data();
    return index;
  }

  // Call a function with the index, whose ids have one or two bytes.
  template <class Function>
  ffi::Error visit(Size V, Function function) const {
    const auto type = text.element_type();
    if (type == ffi::U8 && next.element_type() == type) {
      function(of<uint8_t>(V));
    } else if (type == ffi::U16 && next.element_type() == type) {
      function(of<uint16_t>(V));
    } else {
      return ffi::Error::InvalidArgument("the ids of a memory must have one or two bytes, without sign");
    }
    return ffi::Error::Success();
  }
};

auto memory_counts = [](int64_t num_symbols, int64_t first, bool growing, bool is_own_text, Ids read,
                        ffi::Result<Ids> occurrences, ffi::Result<Ids> kinds, ffi::Result<Ids> hits,
                        IndexArrays arrays) {
  return arrays.visit(num_symbols, [&](const auto& index) {
    count_text(index, read.typed_data(), first, read.element_count(), {growing, is_own_text},
               occurrences->typed_data(), kinds->typed_data(), hits->typed_data());
  });
};

auto memory_mix = [](ffi::ThreadPool pool, Ids history, Ids lengths, Array logits, Array share, Ids longest,
                     Array inner, Array inner_bias, Array outer, Array outer_bias, IndexArrays arrays,
                     NewArray mixed) {
  const Size B = history.dimensions()[0], kept = history.dimensions()[1], V = logits.dimensions()[1];
  return arrays.visit(V, [&](const auto& index) {
    Gate gate{};
    gate.K = index.K;
    gate.M = inner_bias.element_count();
    gate.inner = inner.typed_data();
    gate.inner_bias = inner_bias.typed_data();
    gate.outer = outer.typed_data();
    gate.outer_bias = outer_bias.typed_data();
    const MixingOptions options{*share.typed_data(), *longest.typed_data()};
    const Size tasks = std::min<Size>(B, pool.num_threads());
    in_parallel(pool, tasks, [&, tasks](Size i) {
      Lookup lookup(index);
      const Part part = part_of(B, tasks, i);
      for (Size b = part.begin; b < part.end; b++) {
        mix(lookup, index, gate, history.typed_data() + (b + 1) * kept - 1, Size(lengths.typed_data()[b]),
            options, logits.typed_data() + b * V, mixed->typed_data() + b * V);
      }
    });
  });
};

// Call a function with an instance of the cell that has this name, one of CELL_KINDS in cells.py.
template <class Function>
ffi::Error call_for(std::string_view cell, Function function) {
  if (cell == "lstm") {
    function(Lstm<Sigmoid>{});
  } else if (cell == "hard_lstm") {
    function(Lstm<HardSigmoid>{});
  } else if (cell == "gru") {
    function(Gru<Sigmoid>{});
  } else if (cell == "hard_gru") {
    function(Gru<HardSigmoid>{});
  } else {
    return ffi::Error::InvalidArgument("no cell is called '" + std::string(cell) + "'");
  }
  return ffi::Error::Success();
}

auto any_forward = [](ffi::ThreadPool pool, std::string_view cell, auto... arrays) {
  return call_for(cell, [&](auto kind) { forward<decltype(kind)>(pool, arrays...); });
};

auto any_backward = [](ffi::ThreadPool pool, std::string_view cell, auto... arrays) {
  return call_for(cell, [&](auto kind) { backward<decltype(kind)>(pool, arrays...); });
};

auto any_texts = [](ffi::ThreadPool pool, std::string_view cell, bool windowed, auto... arrays) {
  return call_for(cell, [&](auto kind) { advance_texts<decltype(kind)>(pool, windowed, arrays...); });
};

auto any_memory_counts = [](int64_t num_symbols, int64_t first, bool growing, bool is_own_text, Ids read,
                            ffi::AnyBuffer text, ffi::AnyBuffer next, Ids positions, Ids orders,
                            Ids common_keys, Ids common_first, Ids common_symbols, Ids common_counts,
                            ffi::Result<Ids> occurrences, ffi::Result<Ids> kinds, ffi::Result<Ids> hits) {
  return memory_counts(
      num_symbols, first, growing, is_own_text, read, occurrences, kinds, hits,
      {text, next, positions, orders, common_keys, common_first, common_symbols, common_counts});
};

auto any_memory_mix = [](ffi::ThreadPool pool, Ids history, Ids lengths, Array logits, Array share,
                         Ids longest, Array inner, Array inner_bias, Array outer, Array outer_bias,
                         ffi::AnyBuffer text, ffi::AnyBuffer next, Ids positions, Ids orders, Ids common_keys,
                         Ids common_first, Ids common_symbols, Ids common_counts, NewArray mixed) {
  return memory_mix(pool, history, lengths, logits, share, longest, inner, inner_bias, outer, outer_bias,
                    {text, next, positions, orders, common_keys, common_first, common_symbols, common_counts},
                    mixed);
};

// Add the arrays of a text's index to the arguments of a function.
template <class Binding>
auto with_index(Binding binding) {
  return std::move(binding)
      .template Arg<ffi::AnyBuffer>()  // text [N]
      .template Arg<ffi::AnyBuffer>()  // next [N]
      .template Arg<Ids>()             // positions [N]
      .template Arg<Ids>()             // orders [K]
      .template Arg<Ids>()             // common_keys [C, 2]
      .template Arg<Ids>()             // common_first [C + 1]
      .template Arg<Ids>()             // common_symbols [E]
      .template Arg<Ids>();            // common_counts [E]
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxchar_forward, any_forward,
    ffi::Ffi::Bind()
        .Ctx<ffi::ThreadPool>()
        .Attr<std::string_view>("cell")
        .Arg<Ids>()      // ids [T, B] or [0, B]
        .Arg<Array>()    // scale [T, B] or [0, B]
        .Arg<Array>()    // rows [T, B, D] or [T, B, 0]
        .Arg<Array>()    // input_kernel [D or V, G]
        .Arg<Array>()    // bias [G]
        .Arg<Array>()    // recurrent_kernel [H, G]
        .Arg<Array>()    // first_state [B, H], or [B, 0] where the state is the hidden one
        .Arg<Array>()    // first_hidden [B, H]
        .Arg<Array>()    // mask [B, H] or [B, 0]
        .Ret<Array>()    // hiddens [T, B, H]
        .Ret<Array>()    // states [T, B, H] or [T, B, 0]
        .Ret<Array>());  // saved [T, B, 4H]
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxchar_backward, any_backward,
    ffi::Ffi::Bind()
        .Ctx<ffi::ThreadPool>()
        .Attr<std::string_view>("cell")
        .Arg<Array>()    // input_kernel [D, G], or [0, G] where the inputs are ids
        .Arg<Array>()    // recurrent_kernel [H, G]
        .Arg<Array>()    // first_state [B, H]
        .Arg<Array>()    // states [T, B, H]; of a GRU the hidden ones
        .Arg<Array>()    // saved [T, B, 4H]
        .Arg<Array>()    // d_hiddens [T, B, H]
        .Arg<Array>()    // d_last_state [B, H] or [B, 0]
        .Arg<Array>()    // d_last_hidden [B, H]
        .Arg<Array>()    // mask [B, H] or [B, 0]
        .Ret<Array>()    // d_projected [T, B, G]
        .Ret<Array>()    // d_recurrent [T, B, G], or [T, B, 0] where it equals d_projected
        .Ret<Array>()    // d_rows [T, B, D] or [T, B, 0]
        .Ret<Array>()    // d_first_state [B, H] or [B, 0]
        .Ret<Array>());  // d_first_hidden [B, H]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_weight_gradients, weight_gradients,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Ids>()      // ids [T, B] or [0, B]
                                  .Arg<Array>()    // scale [T, B] or [0, B]
                                  .Arg<Array>()    // rows [T, B, D] or [T, B, 0]
                                  .Arg<Array>()    // first_hidden [B, H], as the recurrent product saw it
                                  .Arg<Array>()    // hiddens [T, B, H], likewise
                                  .Arg<Array>()    // d_projected [T, B, G]
                                  .Arg<Array>()    // d_recurrent [T, B, G] or [T, B, 0]
                                  .Ret<Array>()    // d_input_kernel [D or V, G]
                                  .Ret<Array>()    // d_bias [G]
                                  .Ret<Array>());  // d_recurrent_kernel [H, G]
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxchar_texts, any_texts,
    ffi::Ffi::Bind()
        .Ctx<ffi::ThreadPool>()
        .Attr<std::string_view>("cell")
        .Attr<bool>("windowed")
        .Arg<Ids>()         // ids [B, N] to read; unused where there is noise
        .Arg<Ids>()         // lengths [B], how many characters of each text
        .Arg<Array>()       // noise [B, N, V] to sample with, or [B, N, 0]
        .Arg<Array>()       // temperature []
        .Arg<Ids>()         // noise_begin []: the row of the first character's noise
        .Arg<Ids>()         // last [B]
        .Arg<Ids>()         // position [B]
        .Arg<Array>()       // table [V, 4H]
        .Arg<Array>()       // head_panels
        .Arg<Array>()       // head_bias [V]
        .RemainingArgs()    // of each layer: input_panels of any type and their scales [4H] or
                            // [0], bias [4H], recurrent_panels and scales, state [B, R, H] or
                            // [B, R, 0], hidden [B, R, H]
        .Ret<Ids>()         // last [B]
        .Ret<Ids>()         // position [B]
        .Ret<Ids>()         // sampled [B, N]
        .Ret<Array>()       // logits [B, N, V], or [B, N, 0]
        .RemainingRets());  // of each layer: state, hidden
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_random_bits, random_bits,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::U32>>()    // keys [B, 2]
                                  .Arg<Ids>()                      // first []: number of the first character
                                  .Ret<ffi::Buffer<ffi::U32>>());  // bits [B, N, V]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_memory_counts, any_memory_counts,
                              with_index(ffi::Ffi::Bind()
                                             .Attr<int64_t>("num_symbols")
                                             .Attr<int64_t>("first")
                                             .Attr<bool>("growing")
                                             .Attr<bool>("is_own_text")
                                             .Arg<Ids>())  // read [first + P]
                                  .Ret<Ids>()              // occurrences [P, K]
                                  .Ret<Ids>()              // kinds [P, K]
                                  .Ret<Ids>());            // hits [P, K]
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxchar_memory_mix, any_memory_mix,
    with_index(ffi::Ffi::Bind()
                   .Ctx<ffi::ThreadPool>()
                   .Arg<Ids>()     // history [B, characters], the last ones of each text
                   .Arg<Ids>()     // lengths [B], how many of them there are
                   .Arg<Array>()   // logits [B, V]
                   .Arg<Array>()   // share []
                   .Arg<Ids>()     // longest []
                   .Arg<Array>()   // inner [F, M]
                   .Arg<Array>()   // inner_bias [M]
                   .Arg<Array>()   // outer [M, 1 + K]
                   .Arg<Array>())  // outer_bias [1 + K]
        .Ret<Array>());            // mixed [B, V]

// Columns per packed panel.
extern "C" const int jaxchar_panel_columns = jaxchar::WIDTH;
