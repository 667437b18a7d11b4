// What XLA calls: layers of LSTM or GRU with their gradients, and texts, for processors.
//
// What unroll.py and reader.py say in JAX, said in C++, because on a processor XLA spends half of a small step
// between its operations: here a slice of the batch passes through all time steps on one thread, and the kernels
// lie packed for the products. Built at first use by native.py; native_layer.py and native_reader.py call it.

#include <string_view>

#include "layer.h"
#include "text.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using namespace jaxchar;
using Ids = ffi::Buffer<ffi::S32>;
using Array = ffi::Buffer<ffi::F32>;
using NewArray = ffi::Result<Array>;

// What an array holds; a null pointer for one without numbers, which means that it is left out.
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
  Forward<Cell>{sizes[0],
                sizes[1],
                sizes[2],
                inputs_of(ids, scale, rows, input_kernel.dimensions()[0]),
                input_kernel.typed_data(),
                bias.typed_data(),
                recurrent_kernel.typed_data(),
                numbers(has_memory ? first_state : first_hidden),
                numbers(first_hidden),
                numbers(mask),
                numbers(hiddens),
                numbers(has_memory ? states : hiddens),
                numbers(saved)}
      .run(pool);
}

template <class Cell>
void backward(ffi::ThreadPool pool, Array input_kernel, Array recurrent_kernel, Array first_state, Array states,
              Array saved, Array d_hiddens, Array d_last_state, Array d_last_hidden, Array mask,
              NewArray d_projected, NewArray d_recurrent, NewArray d_rows, NewArray d_state, NewArray d_hidden) {
  const auto sizes = d_hiddens.dimensions();
  const bool is_one = d_recurrent->element_count() == 0;
  std::memmove(d_hidden->typed_data(), d_last_hidden.typed_data(), d_hidden->size_bytes());
  std::memmove(d_state->typed_data(), d_last_state.typed_data(), d_state->size_bytes());
  Backward<Cell>{sizes[0],
                 sizes[1],
                 input_kernel.dimensions()[0],
                 sizes[2],
                 numbers(input_kernel),
                 numbers(recurrent_kernel),
                 numbers(first_state),
                 numbers(mask),
                 numbers(states),
                 numbers(saved),
                 numbers(d_hiddens),
                 numbers(d_projected),
                 numbers(is_one ? d_projected : d_recurrent),
                 numbers(d_rows),
                 numbers(d_state),
                 numbers(d_hidden)}
      .run(pool);
}

ffi::Error weight_gradients(ffi::ThreadPool pool, Ids ids, Array scale, Array rows, Array first_hidden,
                            Array hiddens, Array d_projected, Array d_recurrent, NewArray d_input_kernel,
                            NewArray d_bias, NewArray d_recurrent_kernel) {
  const auto sizes = hiddens.dimensions();
  WeightGradients{sizes[0],
                  sizes[1],
                  sizes[2],
                  d_bias->dimensions()[0],
                  inputs_of(ids, scale, rows, d_input_kernel->dimensions()[0]),
                  numbers(first_hidden),
                  numbers(hiddens),
                  numbers(d_projected),
                  numbers(d_recurrent.element_count() ? d_recurrent : d_projected),
                  numbers(d_input_kernel),
                  numbers(d_bias),
                  numbers(d_recurrent_kernel)}
      .run(pool);
  return ffi::Error::Success();
}

// A layer's arguments and results come one after another: three of its weights, its state and its hidden state.
constexpr Size LAYER_ARGUMENTS = 5, LAYER_RESULTS = 2;

template <class Cell>
void texts(ffi::ThreadPool pool, bool windowed, Ids ids, Ids lengths, Array noise, Array temperature,
           Ids noise_begin, Ids last, Ids place, Array table, Array head_panels, Array head_bias,
           ffi::RemainingArgs arguments, ffi::Result<Ids> new_last, ffi::Result<Ids> new_place,
           ffi::Result<Ids> drawn, NewArray logits, ffi::RemainingRets results) {
  std::vector<TextLayer> layers;
  Size B = ids.dimensions()[0], R = 1, D = 0;
  for (size_t i = 0; i * LAYER_ARGUMENTS < arguments.size(); i++) {
    auto argument = [&](Size k) { return *arguments.get<Array>(i * LAYER_ARGUMENTS + k); };
    auto result = [&](Size k) { return *results.get<Array>(i * LAYER_RESULTS + k); };
    for (Size k : {0, 1}) {
      Array before = argument(3 + k);
      std::memmove(result(k)->typed_data(), before.typed_data(), before.size_bytes());
    }
    const Size H = argument(4).dimensions()[2];
    float *states = numbers(result(0)), *hiddens = numbers(result(1));
    layers.push_back({D, H, numbers(argument(0)), numbers(argument(1)), numbers(argument(2)), states ? states : hiddens,
                      hiddens});
    R = argument(4).dimensions()[1];
    D = H;
  }
  std::memmove(new_last->typed_data(), last.typed_data(), last.size_bytes());
  std::memmove(new_place->typed_data(), place.typed_data(), place.size_bytes());
  const Size V = head_bias.dimensions()[0];
  Texts<Cell>{B,
              R,
              Size(ids.dimensions()[1]),
              V,
              windowed,
              numbers(table),
              numbers(head_panels),
              numbers(head_bias),
              layers,
              ids.typed_data(),
              lengths.typed_data(),
              numbers(noise),
              *temperature.typed_data(),
              *noise_begin.typed_data(),
              new_last->typed_data(),
              new_place->typed_data(),
              drawn->typed_data(),
              numbers(logits)}
      .run(pool);
}

// Call the instance for a cell; native_name in unroll.py gives the names.
#define CALL_FOR(cell, function, ...)                                  \
  (cell == "lstm"        ? function<Lstm<Sigmoid>>(__VA_ARGS__)        \
   : cell == "hard_lstm" ? function<Lstm<HardSigmoid>>(__VA_ARGS__)    \
   : cell == "gru"       ? function<Gru<Sigmoid>>(__VA_ARGS__)         \
                         : function<Gru<HardSigmoid>>(__VA_ARGS__))

auto any_forward = [](ffi::ThreadPool pool, std::string_view cell, auto... arrays) {
  CALL_FOR(cell, forward, pool, arrays...);
  return ffi::Error::Success();
};

auto any_backward = [](ffi::ThreadPool pool, std::string_view cell, auto... arrays) {
  CALL_FOR(cell, backward, pool, arrays...);
  return ffi::Error::Success();
};

auto any_texts = [](ffi::ThreadPool pool, std::string_view cell, bool windowed, auto... arrays) {
  CALL_FOR(cell, texts, pool, windowed, arrays...);
  return ffi::Error::Success();
};

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_forward, any_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<std::string_view>("cell")
                                  .Arg<Ids>()     // ids [T, B] or [0, B]
                                  .Arg<Array>()   // scale [T, B] or [0, B]
                                  .Arg<Array>()   // rows [T, B, D] or [T, B, 0]
                                  .Arg<Array>()   // input_kernel [D or V, G]
                                  .Arg<Array>()   // bias [G]
                                  .Arg<Array>()   // recurrent_kernel [H, G]
                                  .Arg<Array>()   // first_state [B, H], or [B, 0] where it is the hidden one
                                  .Arg<Array>()   // first_hidden [B, H]
                                  .Arg<Array>()   // mask [B, H] or [B, 0]
                                  .Ret<Array>()   // hiddens [T, B, H]
                                  .Ret<Array>()   // states [T, B, H] or [T, B, 0]
                                  .Ret<Array>());  // saved [T, B, 4H]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_backward, any_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<std::string_view>("cell")
                                  .Arg<Array>()   // input_kernel [D, G], or [0, G] where the inputs are ids
                                  .Arg<Array>()   // recurrent_kernel [H, G]
                                  .Arg<Array>()   // first_state [B, H]
                                  .Arg<Array>()   // states [T, B, H], the hidden ones where there are no others
                                  .Arg<Array>()   // saved [T, B, 4H]
                                  .Arg<Array>()   // d_hiddens [T, B, H]
                                  .Arg<Array>()   // d_last_state [B, H] or [B, 0]
                                  .Arg<Array>()   // d_last_hidden [B, H]
                                  .Arg<Array>()   // mask [B, H] or [B, 0]
                                  .Ret<Array>()   // d_projected [T, B, G]
                                  .Ret<Array>()   // d_recurrent [T, B, G], or [T, B, 0] where it is the same
                                  .Ret<Array>()   // d_rows [T, B, D] or [T, B, 0]
                                  .Ret<Array>()   // d_first_state [B, H] or [B, 0]
                                  .Ret<Array>());  // d_first_hidden [B, H]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_weight_gradients, weight_gradients,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Ids>()     // ids [T, B] or [0, B]
                                  .Arg<Array>()   // scale [T, B] or [0, B]
                                  .Arg<Array>()   // rows [T, B, D] or [T, B, 0]
                                  .Arg<Array>()   // first_hidden [B, H], as the recurrent product saw it
                                  .Arg<Array>()   // hiddens [T, B, H], likewise
                                  .Arg<Array>()   // d_projected [T, B, G]
                                  .Arg<Array>()   // d_recurrent [T, B, G] or [T, B, 0]
                                  .Ret<Array>()   // d_input_kernel [D or V, G]
                                  .Ret<Array>()   // d_bias [G]
                                  .Ret<Array>());  // d_recurrent_kernel [H, G]
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxchar_texts, any_texts,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<std::string_view>("cell")
                                  .Attr<bool>("windowed")
                                  .Arg<Ids>()     // ids [B, N], to read; or not looked at
                                  .Arg<Ids>()     // lengths [B], how many characters of each text
                                  .Arg<Array>()   // noise [B, N, V], to draw; or [B, N, 0]
                                  .Arg<Array>()   // temperature []
                                  .Arg<Ids>()     // noise_begin []: the row of the first character's noise
                                  .Arg<Ids>()     // last [B]
                                  .Arg<Ids>()     // place [B]
                                  .Arg<Array>()   // table [V, 4H]
                                  .Arg<Array>()   // head_panels
                                  .Arg<Array>()   // head_bias [V]
                                  .RemainingArgs()  // of each layer: input_panels, bias [4H], recurrent_panels, state
                                                    // [B, R, H] or [B, R, 0], hidden [B, R, H]
                                  .Ret<Ids>()     // last [B]
                                  .Ret<Ids>()     // place [B]
                                  .Ret<Ids>()     // drawn [B, N]
                                  .Ret<Array>()   // logits [B, N, V], or [B, N, 0]
                                  .RemainingRets());  // of each layer: state, hidden

// So many columns has a panel.
extern "C" const int jaxchar_panel_columns = jaxchar::WIDTH;
