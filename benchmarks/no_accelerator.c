/* Answers of libtorch for a machine without an accelerator, to be loaded before it.

   The autograd engine asks for the CUDA streams of a backward pass wherever libtorch was built for CUDA, which fails without a driver.
   With these answers it asks for none, so that backward passes run on fake CUDA tensors. */

/* std::optional<c10::DeviceType> at::accelerator::getAccelerator(bool): none. */
unsigned short _ZN2at11accelerator14getAcceleratorEb(int checked) { return 0; }

/* bool at::accelerator::isAccelerator(c10::DeviceType): false. */
int _ZN2at11accelerator13isAcceleratorEN3c1010DeviceTypeE(int device_type) { return 0; }
